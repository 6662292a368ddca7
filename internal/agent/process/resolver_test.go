package process

import (
	"net/netip"
	"testing"

	"github.com/bakingclouds/rollcall/internal/agent"
)

func TestResolvConfText(t *testing.T) {
	const head = "# Written by Rollcall for this task.\nnameserver 127.64.1.2\n"
	address := netip.MustParseAddr("127.64.1.2")
	if got := (agent.Resolver{Nameserver: address}).Conf(); got != head {
		t.Errorf("without search: %q, want %q", got, head)
	}
	if got, want := (agent.Resolver{Nameserver: address, Search: []string{"corp", "example.org"}}).Conf(), head+"search corp example.org\n"; got != want {
		t.Errorf("with search: %q, want %q", got, want)
	}
}

func TestNsswitchText(t *testing.T) {
	for _, tc := range []struct{ hosts, want string }{ // want is empty where nothing need change
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
