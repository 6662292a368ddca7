package supervisor

import "testing"

func TestNsswitchText(t *testing.T) {
	for _, tc := range []struct{ hosts, want string }{ // want is empty if the text stays
		{"hosts: files dns", ""},
		{"hosts:          files dns", ""},
		{"hosts: files myhostname dns # as ever", ""},
		{"hosts: mymachines resolve [!UNAVAIL=return] files myhostname dns", "hosts: files myhostname dns"},
		{"hosts: files mdns4_minimal [NOTFOUND=return] dns", "hosts: files dns"},
		{"hosts: files [SUCCESS=continue] resolve [ !UNAVAIL = return ]", "hosts: files dns"},
		{"hosts: resolve # dns", "hosts: dns"},
		{"passwd: files resolve", ""},
		{"", ""},
	} {
		const around = "passwd: files systemd\n"
		text, changed := nsswitchText(around + tc.hosts + "\n")
		want := tc.want
		if !changed {
			want = tc.hosts
		}
		if changed != (tc.want != "") || text != around+want+"\n" {
			t.Errorf("%q\n got %q, changed %v\nwant %q", tc.hosts, text, changed, tc.want)
		}
	}
}
