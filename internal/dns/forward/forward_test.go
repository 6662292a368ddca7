package forward_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"github.com/bakingclouds/rollcall/internal/dns/dnstest"
	"github.com/bakingclouds/rollcall/internal/dns/forward"
)

func newForwarder(t *testing.T, cfg forward.Config) *forward.Forwarder {
	t.Helper()
	f := forward.New(cfg)
	t.Cleanup(f.Close)
	return f
}

// withUpstreams returns a configuration with upstreams.
func withUpstreams(ups ...*dnstest.Upstream) forward.Config {
	var cfg forward.Config
	for _, u := range ups {
		cfg.Upstreams = append(cfg.Upstreams, u.Addr)
	}
	return cfg
}

// resolve returns the records of the answer, the response code of a negative answer, or the reason of a failure.
func resolve(t *testing.T, f *forward.Forwarder, q forward.Question) string {
	t.Helper()
	m, err := f.Resolve(t.Context(), q)
	if fail := (*forward.Failure)(nil); errors.As(err, &fail) {
		return fmt.Sprintf("failure %d: %s", fail.Code, fail.Reason)
	}
	if err != nil {
		t.Fatal(err)
	}
	if m.IsEdns0() != nil {
		t.Error("the message contains the upstream's OPT record")
	}
	if len(m.Answer) == 0 {
		return dns.RcodeToString[m.Rcode]
	}
	var lines []string
	for _, rr := range m.Answer {
		lines = append(lines, strings.Join(strings.Fields(rr.String()), " "))
	}
	return strings.Join(lines, "; ")
}

// queryA returns a question of type A.
func queryA(name string) forward.Question { return forward.Question{Name: name, Type: dns.TypeA} }

func TestCacheAndCase(t *testing.T) {
	up := dnstest.NewUpstream(t, dnstest.Answer(dns.RcodeSuccess,
		"www.example.net. 100 IN CNAME web.example.net.", "web.example.net. 100 IN A 192.0.2.1"))
	f := newForwarder(t, withUpstreams(up))
	for _, name := range []string{"www.example.net.", "WWW.example.net.", "www.example.NET."} {
		want := name + " 100 IN CNAME web.example.net.; web.example.net. 100 IN A 192.0.2.1"
		if got := resolve(t, f, queryA(name)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if n := up.Received(); n != 1 {
		t.Errorf("the upstream received %d queries, want 1", n)
	}
	for _, q := range []forward.Question{{Name: "www.example.net.", Type: dns.TypeA, DO: true},
		{Name: "www.example.net.", Type: dns.TypeA, CD: true}, {Name: "www.example.net.", Type: dns.TypeAAAA}} {
		resolve(t, f, q)
	}
	if n := up.Received(); n != 4 {
		t.Errorf("the upstream received %d queries, want one for each kind of question", n)
	}
}

func TestNegativeCache(t *testing.T) {
	const soa = "example.net. 100 IN SOA ns. host. 1 2 3 4 50"
	for _, tc := range []struct {
		name   string
		answer dns.HandlerFunc
		want   string
		asked  int
	}{
		{"NXDOMAIN", dnstest.Answer(dns.RcodeNameError, soa), "NXDOMAIN", 1},
		{"NODATA", dnstest.Answer(dns.RcodeSuccess, soa), "NOERROR", 1},
		{"without SOA", dnstest.Answer(dns.RcodeNameError), "NXDOMAIN", 2},
		{"TTL 0", dnstest.Answer(dns.RcodeSuccess, "x.example.net. 0 IN A 192.0.2.1"),
			"x.example.net. 0 IN A 192.0.2.1", 2},
	} {
		up := dnstest.NewUpstream(t, tc.answer)
		f := newForwarder(t, withUpstreams(up))
		for range 2 {
			if got := resolve(t, f, queryA("x.example.net.")); got != tc.want {
				t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
			}
		}
		if n := up.Received(); n != tc.asked {
			t.Errorf("%s: the upstream received %d queries, want %d", tc.name, n, tc.asked)
		}
	}
}

// TestEqualQuestions checks that equal questions at the same time cause only one query to the upstream.
func TestEqualQuestions(t *testing.T) {
	release := make(chan struct{})
	up := dnstest.NewUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		<-release
		w.WriteMsg(dnstest.Reply(q, dns.RcodeSuccess, "example.net. 100 IN A 192.0.2.1"))
	})
	f := newForwarder(t, withUpstreams(up))
	var group sync.WaitGroup
	ready := make(chan struct{}, 50)
	for range cap(ready) {
		group.Go(func() {
			ready <- struct{}{}
			if got := resolve(t, f, queryA("example.net.")); !strings.HasSuffix(got, "IN A 192.0.2.1") {
				t.Errorf("got %s", got)
			}
		})
	}
	for range cap(ready) {
		<-ready
	}
	close(release)
	group.Wait()
	if n := up.Received(); n != 1 {
		t.Errorf("the upstream received %d queries, want 1", n)
	}
}

func TestTruncatedReply(t *testing.T) {
	up := dnstest.NewUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := dnstest.Reply(q, dns.RcodeSuccess, "example.net. 100 IN A 192.0.2.1")
		if w.RemoteAddr().Network() == "udp" {
			m.Truncated, m.Answer = true, nil
		}
		w.WriteMsg(m)
	})
	f := newForwarder(t, withUpstreams(up))
	if got := resolve(t, f, queryA("example.net.")); got != "example.net. 100 IN A 192.0.2.1" {
		t.Errorf("got %s", got)
	}
}

// TestWithoutEDNS queries an upstream that does not support EDNS.
func TestWithoutEDNS(t *testing.T) {
	up := dnstest.NewUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if q.IsEdns0() != nil {
			w.WriteMsg(dnstest.Reply(q, dns.RcodeFormatError))
			return
		}
		w.WriteMsg(dnstest.Reply(q, dns.RcodeSuccess, "example.net. 100 IN A 192.0.2.1"))
	})
	f := newForwarder(t, withUpstreams(up))
	if got := resolve(t, f, queryA("example.net.")); got != "example.net. 100 IN A 192.0.2.1" {
		t.Errorf("got %s", got)
	}
}

// TestSeveralUpstreams checks that the forwarder asks the next upstream if one does not answer, and then prefers the
// one that answered.
func TestSeveralUpstreams(t *testing.T) {
	t.Parallel()
	good := func(w dns.ResponseWriter, q *dns.Msg) {
		w.WriteMsg(dnstest.Reply(q, dns.RcodeSuccess, q.Question[0].Name+" 100 IN A 192.0.2.1"))
	}
	for name, bad := range map[string]dns.HandlerFunc{
		"no reply": dnstest.Silent,
		"SERVFAIL": dnstest.Answer(dns.RcodeServerFailure),
		"REFUSED":  dnstest.Answer(dns.RcodeRefused),
		"reply to another question": func(w dns.ResponseWriter, q *dns.Msg) {
			m := dnstest.Reply(q, dns.RcodeSuccess, "example.net. 100 IN A 203.0.113.1")
			m.Question[0].Name = "other.example.net."
			w.WriteMsg(m)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second := dnstest.NewUpstream(t, bad), dnstest.NewUpstream(t, good)
			f := newForwarder(t, withUpstreams(first, second))
			for _, domain := range []string{"example.net.", "example.com."} {
				if got := resolve(t, f, queryA(domain)); got != domain+" 100 IN A 192.0.2.1" {
					t.Errorf("got %s", got)
				}
			}
			if n := first.Received(); n != 1 {
				t.Errorf("the first upstream received %d queries, want 1", n)
			}
		})
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		handler dns.HandlerFunc
		want    []string
		asked   int
	}{
		{"no reply", dnstest.Silent, []string{"failure 22:", "upstream 127.0.0.1:", "timeout"}, 2},
		{"SERVFAIL", dnstest.Answer(dns.RcodeServerFailure),
			[]string{"failure 0:", "upstream 127.0.0.1:", "replied with SERVFAIL"}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			up := dnstest.NewUpstream(t, tc.handler)
			f := newForwarder(t, withUpstreams(up))
			got := resolve(t, f, queryA("example.net."))
			for _, want := range tc.want {
				if !strings.Contains(got, want) {
					t.Errorf("%s does not contain %q", got, want)
				}
			}
			if n := up.Received(); n != tc.asked {
				t.Errorf("the upstream received %d queries, want %d", n, tc.asked)
			}
		})
	}
}

// TestHostList changes the host's files, and checks the resolvers after each change.
func TestHostList(t *testing.T) {
	dir := t.TempDir()
	main, systemd := filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "systemd.conf")
	own := netip.MustParseAddrPort("127.0.0.1:53")
	f := newForwarder(t, forward.Config{ResolvConf: main, SystemdResolvConf: systemd,
		Own: func(a netip.AddrPort) bool { return a == own }})
	write := func(file, text string) func() {
		return func() {
			// Replace the file, as resolvconf and NetworkManager do.
			if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(file+".new", file); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, step := range []struct {
		name   string
		change func()
		want   string
	}{
		{"no file", func() {}, "no such file"},
		{"empty file", write(main, "search corp\n"), "names no resolver; name one with --upstream"},
		{"two resolvers", write(main, "nameserver 192.0.2.1\nnameserver 2001:db8::1\n"),
			"192.0.2.1:53 [2001:db8::1]:53"},
		{"other resolver", write(main, "nameserver 192.0.2.2\n"), "192.0.2.2:53"},
		{"own address among them", write(main, "nameserver 127.0.0.1\nnameserver 192.0.2.3\n"), "192.0.2.3:53"},
		{"own address only", write(main, "nameserver 127.0.0.1\n"), main + " names no resolver other than this server"},
		{"stub without resolvers behind it", write(main, "nameserver 127.0.0.53\noptions edns0\n"), "127.0.0.53:53"},
		{"stub", write(systemd, "nameserver 192.0.2.4\n"), "192.0.2.4:53"},
		{"change behind the stub", write(systemd, "nameserver 192.0.2.5\nnameserver fe80::1%lo\n"),
			"192.0.2.5:53 [fe80::1%lo]:53"},
		{"file removed", func() { os.Remove(main) }, "192.0.2.5:53 [fe80::1%lo]:53"},
		{"no stub", write(main, "nameserver 192.0.2.6\n"), "192.0.2.6:53"},
		{"invalid lines", write(main, "nameserver somewhere\nnonsense\nnameserver 192.0.2.7\n"), "192.0.2.7:53"},
	} {
		step.change()
		var got []string
		ups, err := f.Upstreams()
		for _, u := range ups {
			got = append(got, u.String())
		}
		if err != nil {
			got = append(got, err.Error())
		}
		if text := strings.Join(got, " "); text != step.want && (err == nil || !strings.Contains(text, step.want)) {
			t.Errorf("%s: got %s, want %s", step.name, text, step.want)
		}
	}
}

// TestClose checks that Close cancels a pending question.
func TestClose(t *testing.T) {
	received := make(chan struct{}, 8)
	up := dnstest.NewUpstream(t, func(dns.ResponseWriter, *dns.Msg) { received <- struct{}{} })
	f := newForwarder(t, withUpstreams(up))
	done := make(chan error)
	go func() {
		_, err := f.Resolve(t.Context(), queryA("example.net."))
		done <- err
	}()
	<-received
	f.Close()
	if err := <-done; err == nil {
		t.Error("Resolve succeeded, want an error")
	}
}
