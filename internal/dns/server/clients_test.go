package server

import (
	"context"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGoResolver queries the server with the resolver of Go's standard library.
func TestGoResolver(t *testing.T) {
	_, addr := start(t, zone, Config{})
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}
	hosts, err := r.LookupHost(t.Context(), "worker.corp.")
	slices.Sort(hosts)
	if diff := cmp.Diff([]string{"10.0.0.7", "10.0.0.8"}, hosts); diff != "" || err != nil {
		t.Errorf("LookupHost: %v\n%s", err, diff)
	}
	_, srvs, err := r.LookupSRV(t.Context(), "", "", "many.corp.")
	if err != nil || len(srvs) != 8 || srvs[0].Port != 8080 {
		t.Errorf("LookupSRV: %d records, %v", len(srvs), err)
	}
	if hosts, err = r.LookupHost(t.Context(), srvs[0].Target); err != nil || len(hosts) != 2 {
		t.Errorf("LookupHost of the target %s: %v, %v", srvs[0].Target, hosts, err)
	}
	if hosts, err = r.LookupHost(t.Context(), "wide.corp."); err != nil || len(hosts) != 16 {
		t.Errorf("LookupHost of a large service: %d addresses, %v; want 8 of each family", len(hosts), err)
	}
	_, err = r.LookupHost(t.Context(), "unknown.corp.")
	if e, ok := err.(*net.DNSError); !ok || !e.IsNotFound {
		t.Errorf("LookupHost of an unknown name: %v, want not found", err)
	}
}

// TestDig queries the server with dig, which must be installed (Debian: dnsutils).
func TestDig(t *testing.T) {
	_, addr := start(t, zone, Config{})
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args string
		want []string
	}{
		{"+short worker.corp A", []string{"10.0.0.7", "10.0.0.8"}},
		{"+short +tcp api.corp SRV", []string{"1 1 8080 i-1.api.corp."}},
		{"+short -x 10.0.0.7", nil}, // outside our zones, refused
		{"+noall +answer wOrKeR.corp A", []string{"wOrKeR.corp. 60 IN A 10.0.0.7", "wOrKeR.corp. 60 IN A 10.0.0.8"}},
		{"+noall +authority unknown.corp A",
			[]string{"corp. 5 IN SOA ns.rollcall.invalid. hostmaster.rollcall.invalid. 1 7200 900 1209600 5"}},
		{"+noedns +notcp +ignore +noall +comments many.corp SRV | flags:", []string{"qr aa tc rd"}},
		{"+noall +comments worker.corp A | COOKIE:", []string{"(good)"}},
		{"+noall +comments example.net A | status:", []string{"REFUSED"}},
		{"+noall +comments example.net A | EDE:", []string{"20 (Not Authoritative)"}},
	} {
		args, find, filtered := strings.Cut(tc.args, " | ")
		dig := exec.Command("dig", "@"+host, "-p", port, "+time=5", "+tries=1")
		dig.Args = append(dig.Args, strings.Fields(args)...)
		out, err := dig.CombinedOutput()
		if err != nil {
			t.Fatalf("dig %s: %v\n%s", args, err, out)
		}
		var lines []string
		for _, line := range strings.Split(string(out), "\n") {
			if line = strings.Join(strings.Fields(line), " "); line != "" && !filtered {
				lines = append(lines, line)
			} else if filtered && strings.Contains(line, find) {
				lines = append(lines, line)
			}
		}
		slices.Sort(lines)
		ok := len(lines) == len(tc.want)
		for k := 0; ok && k < len(lines); k++ {
			ok = lines[k] == tc.want[k] || filtered && strings.Contains(lines[k], tc.want[k])
		}
		if !ok {
			t.Errorf("dig %s:\n%s\nwant %q", tc.args, out, tc.want)
		}
	}
}
