package server

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/bakingclouds/rollcall/internal/dns/answer"
	"github.com/bakingclouds/rollcall/internal/dns/dnstest"
	"github.com/bakingclouds/rollcall/internal/dns/forward"
)

// zone is the directory of most tests.
const zone = `zone corp.
worker  A 60
  i-1   10.0.0.7
  i-2   10.0.0.8
api     SRV 30
  i-1   10.0.0.9 2001:db8::9 :8080
many    SRV 30
  abcdefghijklmnopqrstuvwxyz-0123456789-1..8  10.0.1.1.. 2001:db8::1.. :8080
wide    A 30 AAAA 30
  i-1..1000 10.1.0.1.. 2001:db8:1::1..
odd     SRV 30
  Team/a@b:1 10.0.0.10 :80
db      CNAME 30 weighted
  one   =db.example.net
`

// start starts a server on a loopback address. text is its directory in the notation of dnstest.
func start(tb testing.TB, text string, cfg Config) (*Server, string) {
	tb.Helper()
	cfg.Authority = &answer.Authority{Directory: dnstest.Load(tb, text)}
	s := New(cfg)
	tb.Cleanup(s.Shutdown)
	addr, err := s.Listen("127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return s, addr.String()
}

func query(name string, typ uint16) *dns.Msg { return new(dns.Msg).SetQuestion(name, typ) }

// ask sends a query and returns the reply.
func ask(tb testing.TB, network, addr string, q *dns.Msg) *dns.Msg {
	tb.Helper()
	c := dns.Client{Net: network, Timeout: 10 * time.Second, UDPSize: 65535}
	r, _, err := c.Exchange(q, addr)
	if err != nil {
		tb.Fatalf("%s %s %v: %v", network, addr, q.Question, err)
	}
	return r
}

// summary returns a reply in one line: the response code, the flags, and each record.
func summary(m *dns.Msg) string {
	words := []string{rcodeName(m.Rcode)}
	for _, f := range []struct {
		on   bool
		name string
	}{{m.Authoritative, "aa"}, {m.Truncated, "tc"}, {m.RecursionDesired, "rd"}, {m.RecursionAvailable, "ra"},
		{m.AuthenticatedData, "ad"}, {m.CheckingDisabled, "cd"}} {
		if f.on {
			words = append(words, f.name)
		}
	}
	for _, rr := range m.Answer {
		words = append(words, "|", strings.Join(strings.Fields(rr.String()), " "))
	}
	for _, rr := range m.Ns {
		words = append(words, "| authority", strings.Join(strings.Fields(rr.String()), " "))
	}
	for _, rr := range m.Extra {
		if rr.Header().Rrtype != dns.TypeOPT {
			words = append(words, "| additional", strings.Join(strings.Fields(rr.String()), " "))
		}
	}
	return strings.Join(words, " ")
}

func TestReplies(t *testing.T) {
	_, addr := start(t, zone, Config{})
	for _, tc := range []struct {
		name string
		typ  uint16
		want string
	}{
		{"i-1.api.corp.", dns.TypeA, "NOERROR aa rd | i-1.api.corp. 30 IN A 10.0.0.9"},
		{"api.corp.", dns.TypeSRV, "NOERROR aa rd | api.corp. 30 IN SRV 1 1 8080 i-1.api.corp." +
			" | additional i-1.api.corp. 30 IN A 10.0.0.9 | additional i-1.api.corp. 30 IN AAAA 2001:db8::9"},
		{"ApI.cOrP.", dns.TypeSRV, "NOERROR aa rd | ApI.cOrP. 30 IN SRV 1 1 8080 i-1.ApI.cOrP." +
			" | additional i-1.ApI.cOrP. 30 IN A 10.0.0.9 | additional i-1.ApI.cOrP. 30 IN AAAA 2001:db8::9"},
		{"team/a\\@b:1.odd.corp.", dns.TypeA, "NOERROR aa rd | team/a\\@b:1.odd.corp. 30 IN A 10.0.0.10"},
		{"db.corp.", dns.TypeAAAA, "NOERROR aa rd | db.corp. 30 IN CNAME db.example.net."},
		{"api.corp.", dns.TypeA, "NOERROR aa rd | authority corp. 5 IN SOA" +
			" ns.rollcall.invalid. hostmaster.rollcall.invalid. 1 7200 900 1209600 5"},
		{"unknown.CORP.", dns.TypeA, "NXDOMAIN aa rd | authority CORP. 5 IN SOA" +
			" ns.rollcall.invalid. hostmaster.rollcall.invalid. 1 7200 900 1209600 5"},
		{"corp.", dns.TypeNS, "NOERROR aa rd | corp. 172800 IN NS ns.rollcall.invalid."},
		{"worker.corp.", dns.TypeANY, `NOERROR aa rd | worker.corp. 3600 IN HINFO "RFC8482" ""`},
		{"worker.corp.", dns.TypeAXFR, "REFUSED rd"},
		{"worker.corp.", dns.TypeIXFR, "REFUSED rd"},
		{"example.net.", dns.TypeA, "REFUSED rd"},
		{".", dns.TypeNS, "REFUSED rd"},
		// A dot or a backslash inside a label is not a separator.
		{`i-1\.api.corp.`, dns.TypeA, "NXDOMAIN aa rd | authority corp. 5 IN SOA" +
			" ns.rollcall.invalid. hostmaster.rollcall.invalid. 1 7200 900 1209600 5"},
		{`worker\.corp.`, dns.TypeA, "REFUSED rd"},
		{`worker\\.corp.`, dns.TypeA, "NXDOMAIN aa rd | authority corp. 5 IN SOA" +
			" ns.rollcall.invalid. hostmaster.rollcall.invalid. 1 7200 900 1209600 5"},
	} {
		for _, network := range []string{"udp", "tcp"} {
			q := query(tc.name, tc.typ)
			r := ask(t, network, addr, q)
			if got := summary(r); got != tc.want {
				t.Errorf("%s %s over %s:\ngot  %s\nwant %s", tc.name, dns.TypeToString[tc.typ], network, got, tc.want)
			}
			if r.Id != q.Id || len(r.Question) != 1 || r.Question[0] != q.Question[0] {
				t.Errorf("%s over %s: reply to %v has question %v", tc.name, network, q.Question, r.Question)
			}
		}
	}
}

// TestQueryVariants varies the header, the question section and the OPT record of one query.
func TestQueryVariants(t *testing.T) {
	_, addr := start(t, zone, Config{})
	for _, tc := range []struct {
		name string
		edit func(*dns.Msg)
		want string
	}{
		{"no recursion desired", func(m *dns.Msg) { m.RecursionDesired = false },
			"NOERROR aa | i-1.api.corp. 30 IN A 10.0.0.9"},
		{"checking disabled", func(m *dns.Msg) { m.CheckingDisabled = true },
			"NOERROR aa rd cd | i-1.api.corp. 30 IN A 10.0.0.9"},
		{"authentic data", func(m *dns.Msg) { m.AuthenticatedData = true },
			"NOERROR aa rd | i-1.api.corp. 30 IN A 10.0.0.9"},
		{"class CHAOS", func(m *dns.Msg) {
			m.Question[0] = dns.Question{Name: "version.bind.", Qtype: dns.TypeTXT, Qclass: dns.ClassCHAOS}
		}, "REFUSED rd"},
		{"class ANY", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassANY }, "REFUSED rd"},
		{"NOTIFY", func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }, "NOTIMP rd"},
		{"UPDATE", func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }, "NOTIMP rd"},
		{"no question", func(m *dns.Msg) { m.Question = nil }, "FORMERR rd"},
		{"two questions", func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }, "FORMERR rd"},
		{"DNSSEC OK", func(m *dns.Msg) { m.SetEdns0(4096, true) },
			"NOERROR aa rd | i-1.api.corp. 30 IN A 10.0.0.9"},
		{"EDNS version 1", func(m *dns.Msg) { m.SetEdns0(4096, false); m.IsEdns0().SetVersion(1) }, "BADVERS rd"},
		{"two OPT records", func(m *dns.Msg) { m.SetEdns0(4096, false); m.Extra = append(m.Extra, m.Extra[0]) },
			"FORMERR rd"},
		{"OPT below the root", func(m *dns.Msg) { m.SetEdns0(4096, false); m.Extra[0].Header().Name = "corp." },
			"FORMERR rd"},
		{"cookie of 7 octets", func(m *dns.Msg) { withCookie(m, "01020304050607") }, "FORMERR rd"},
		{"cookie of 15 octets", func(m *dns.Msg) { withCookie(m, "010203040506070809101112131415") }, "FORMERR rd"},
		{"cookie of 41 octets", func(m *dns.Msg) { withCookie(m, strings.Repeat("01", 41)) }, "FORMERR rd"},
		{"cookie only", func(m *dns.Msg) { m.Question = nil; withCookie(m, "0102030405060708") }, "NOERROR rd"},
	} {
		q := query("i-1.api.corp.", dns.TypeA)
		tc.edit(q)
		r := ask(t, "udp", addr, q)
		if got := summary(r); got != tc.want || r.Id != q.Id {
			t.Errorf("%s: got %s (id %d of %d), want %s", tc.name, got, r.Id, q.Id, tc.want)
		}
		opt := r.IsEdns0()
		if opt != nil && (opt.Do() || opt.UDPSize() != 1232 || opt.Version() != 0 || q.IsEdns0() == nil) {
			t.Errorf("%s: OPT record of the reply: %v", tc.name, opt)
		}
	}
}

func withCookie(m *dns.Msg, cookie string) {
	m.SetEdns0(1232, false)
	m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: cookie}}
}

// TestReplySize queries eight SRV records with long names and sixteen addresses. The records take some 580 octets
// without the addresses, and 940 with them.
func TestReplySize(t *testing.T) {
	_, addr := start(t, zone, Config{})
	for _, tc := range []struct {
		name    string
		size    uint16 // of the EDNS buffer; 0 means no EDNS
		limit   int
		answers string
		tc      bool
	}{
		{"without EDNS", 0, 512, "some", true},
		{"below the minimum", 100, 512, "some", true},
		{"600", 600, 600, "all", false},
		{"1232", 1232, 1232, "all", false},
		{"above the server's maximum", 4096, 1232, "all", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q := query("many.corp.", dns.TypeSRV)
			if tc.size > 0 {
				q.SetEdns0(tc.size, false)
			}
			r := ask(t, "udp", addr, q)
			packed, err := r.Pack()
			if r.Compress = true; err == nil {
				packed, err = r.Pack()
			}
			if err != nil || len(packed) > tc.limit {
				t.Errorf("%d octets (%v), want at most %d", len(packed), err, tc.limit)
			}
			if all := len(r.Answer) == 8; all != (tc.answers == "all") || r.Truncated != tc.tc || len(r.Answer) == 0 {
				t.Errorf("%d answers, TC %v, want %s, TC %v", len(r.Answer), r.Truncated, tc.answers, tc.tc)
			}
			if (r.IsEdns0() != nil) != (tc.size > 0) {
				t.Errorf("OPT in the reply: %v", r.IsEdns0())
			}
			if r.Truncated {
				r = ask(t, "tcp", addr, q)
			}
			if len(r.Answer) != 8 || r.Truncated {
				t.Errorf("after the retry over TCP: %d answers, TC %v, want 8 and false", len(r.Answer), r.Truncated)
			}
		})
	}
	t.Run("all addresses over TCP", func(t *testing.T) {
		if r := ask(t, "tcp", addr, query("many.corp.", dns.TypeSRV)); len(r.Extra) != 16 {
			t.Errorf("%d additional records, want 16", len(r.Extra))
		}
	})
}

func TestClientOf(t *testing.T) {
	for _, tc := range []struct{ source, local, want, reason string }{
		{"10.0.0.7", "10.0.0.1", "10.0.0.7", "the source address"},
		{"::ffff:10.0.0.7", "::ffff:10.0.0.1", "10.0.0.7", "a socket of both families"},
		{"fe80::1%lo", "fe80::2", "fe80::1", "networks have no IPv6 zones"},
		{"127.0.0.1", "127.64.0.5", "127.64.0.5", "a task, by its destination address"},
		{"127.0.0.1", "::ffff:127.64.0.5", "127.64.0.5", "a task, on a socket of both families"},
		{"127.64.0.6", "127.0.0.1", "127.64.0.6", "a task that has chosen its source address"},
		{"127.0.0.1", "127.0.0.1", "127.0.0.1", "this host"},
		{"::1", "::1", "::1", "this host"},
	} {
		got := clientOf(netip.MustParseAddr(tc.source), netip.MustParseAddr(tc.local))
		if got != netip.MustParseAddr(tc.want) {
			t.Errorf("from %s to %s: client %s, want %s: %s", tc.source, tc.local, got, tc.want, tc.reason)
		}
	}
}

// TestTaskListeners listens on an address for each of two tasks. The destination address of a query must select the
// namespaces.
func TestTaskListeners(t *testing.T) {
	s, main := start(t, `zone corp. private 127.64.7.1/32
web     A 60
  i-1   10.0.0.1
zone corp. private 127.64.7.2/32
web     A 60
  i-1   10.0.0.2
`, Config{})
	addrs := map[string]string{}
	for _, ip := range []string{"127.64.7.1", "127.64.7.2"} {
		a, err := s.Listen(ip + ":0")
		if err != nil {
			t.Fatal(err)
		}
		addrs[ip] = a.String()
	}
	for _, network := range []string{"udp", "tcp"} {
		for addr, want := range map[string]string{
			addrs["127.64.7.1"]: "NOERROR aa rd | web.corp. 60 IN A 10.0.0.1",
			addrs["127.64.7.2"]: "NOERROR aa rd | web.corp. 60 IN A 10.0.0.2",
			main:                "REFUSED rd",
		} {
			if got := summary(ask(t, network, addr, query("web.corp.", dns.TypeA))); got != want {
				t.Errorf("query to %s over %s: %s, want %s", addr, network, got, want)
			}
		}
	}
	one := netip.MustParseAddrPort(addrs["127.64.7.1"])
	s.Close(one)
	if again, err := s.Listen(one.String()); err != nil || again != one {
		t.Errorf("the address is not free after Close: %v", err)
	}
	if n := len(s.Addrs()); n != 3 {
		t.Errorf("%d addresses, want 3: %v", n, s.Addrs())
	}
}

// TestAllAddresses sends queries to several addresses of a socket that is bound to all addresses. A reply from another
// address would not reach the client's connected socket.
func TestAllAddresses(t *testing.T) {
	s, _ := start(t, zone, Config{})
	type row struct {
		listen string
		dest   []string
	}
	rows := []row{
		{"0.0.0.0:0", []string{"127.0.0.1", "127.0.0.2", "127.64.0.9"}},
		{":0", []string{"127.0.0.1", "127.0.0.2"}},
	}
	if _, err := s.Listen("[::1]:0"); err == nil { // fails on a host without IPv6
		rows[1].dest = append(rows[1].dest, "::1")
		rows = append(rows, row{"[::]:0", []string{"::1"}})
	}
	for _, tc := range rows {
		a, err := s.Listen(tc.listen)
		if err != nil {
			t.Fatal(err)
		}
		for _, ip := range tc.dest {
			for _, network := range []string{"udp", "tcp"} {
				r := ask(t, network, net.JoinHostPort(ip, fmt.Sprint(a.Port())), query("i-1.api.corp.", dns.TypeA))
				if r.Rcode != dns.RcodeSuccess || len(r.Answer) != 1 {
					t.Errorf("listening on %s, query to %s: %s", tc.listen, ip, summary(r))
				}
			}
		}
		if !s.owns(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.3"), a.Port())) {
			t.Errorf("owns does not recognize 127.0.0.3 while listening on %s", tc.listen)
		}
	}
}

func TestStats(t *testing.T) {
	s, addr := start(t, zone, Config{})
	ask(t, "udp", addr, query("worker.corp.", dns.TypeA))
	ask(t, "tcp", addr, query("unknown.corp.", dns.TypeA))
	got := s.Stats()
	want := Stats{UDP: 1, TCP: 1, Rcodes: map[string]uint64{"NOERROR": 1, "NXDOMAIN": 1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Stats (-want +got):\n%s", diff)
	}
}

func TestOnAnswer(t *testing.T) {
	services := make(chan string, 2)
	_, addr := start(t, zone, Config{OnAnswer: func(client netip.Addr, r *answer.Reply) {
		services <- fmt.Sprint(client, " ", r.View.Service.Name, " ", len(r.Answer))
	}})
	ask(t, "udp", addr, query("WORKER.corp.", dns.TypeA))
	if got := <-services; got != "127.0.0.1 worker 2" {
		t.Errorf("OnAnswer was called with %q", got)
	}
}

// TestForwarding queries names outside our zones.
func TestForwarding(t *testing.T) {
	up := dnstest.NewUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if q.Question[0].Name == "db.example.net." {
			w.WriteMsg(dnstest.Reply(q, dns.RcodeSuccess, "db.example.net. 100 IN A 192.0.2.9"))
			return
		}
		w.WriteMsg(dnstest.Reply(q, dns.RcodeNameError, "example.net. 100 IN SOA ns. host. 1 2 3 4 50"))
	})
	_, open := start(t, zone, Config{Forward: &forward.Config{Upstreams: []netip.AddrPort{up.Addr}}})
	_, closed := start(t, zone, Config{Forward: &forward.Config{Upstreams: []netip.AddrPort{up.Addr}},
		MayRecurse: func(netip.Addr) bool { return false }})
	for _, tc := range []struct {
		addr, name string
		rd         bool
		want       string
	}{
		{open, "db.example.net.", true, "NOERROR rd ra | db.example.net. 100 IN A 192.0.2.9"},
		{open, "DB.Example.NET.", true, "NOERROR rd ra | DB.Example.NET. 100 IN A 192.0.2.9"},
		{open, "unknown.example.net.", true, "NXDOMAIN rd ra | authority example.net. 100 IN SOA ns. host. 1 2 3 4 50"},
		{open, "i-1.api.corp.", true, "NOERROR aa rd ra | i-1.api.corp. 30 IN A 10.0.0.9"},
		// A stub resolver does not follow a CNAME, so the reply contains the whole chain.
		{open, "db.corp.", true,
			"NOERROR aa rd ra | db.corp. 30 IN CNAME db.example.net. | db.example.net. 100 IN A 192.0.2.9"},
		{open, "db.corp.", false, "NOERROR aa ra | db.corp. 30 IN CNAME db.example.net."},
		{open, "db.example.net.", false, "REFUSED ra"},
		{closed, "db.example.net.", true, "REFUSED rd"},
		{closed, "db.corp.", true, "NOERROR aa rd | db.corp. 30 IN CNAME db.example.net."},
	} {
		for _, network := range []string{"udp", "tcp"} {
			q := query(tc.name, dns.TypeA)
			q.RecursionDesired = tc.rd
			if got := summary(ask(t, network, tc.addr, q)); got != tc.want {
				t.Errorf("%s rd=%v over %s:\ngot  %s\nwant %s", tc.name, tc.rd, network, got, tc.want)
			}
		}
	}
}

// TestNoUpstream checks that on a host without a resolver, the reply contains the reason as an extended error.
func TestNoUpstream(t *testing.T) {
	dir := t.TempDir()
	_, addr := start(t, zone, Config{Forward: &forward.Config{
		ResolvConf: dir + "/resolv.conf", SystemdResolvConf: dir + "/none",
	}})
	q := query("example.net.", dns.TypeA)
	q.SetEdns0(1232, false)
	r := ask(t, "udp", addr, q)
	if opt := r.IsEdns0(); r.Rcode != dns.RcodeServerFailure || opt == nil || len(opt.Option) != 1 {
		t.Fatalf("got %s, OPT %v", summary(r), opt)
	}
	got := r.IsEdns0().Option[0].(*dns.EDNS0_EDE).ExtraText
	if !strings.Contains(got, dir+"/resolv.conf") || !strings.Contains(got, "--upstream") {
		t.Errorf("the reason is %q, want the file and the flag", got)
	}
}

// TestForwardingLoop uses an upstream that forwards the question back to this server. The returning question joins
// the pending one, so the upstream receives as many queries as an upstream that does not reply, and the client
// receives SERVFAIL.
func TestForwardingLoop(t *testing.T) {
	t.Parallel()
	up := dnstest.NewUpstream(t, dnstest.Silent)
	_, addr := start(t, zone, Config{Forward: &forward.Config{Upstreams: []netip.AddrPort{up.Addr}}})
	up.Handle(func(w dns.ResponseWriter, q *dns.Msg) {
		c := dns.Client{Timeout: 10 * time.Second}
		if r, _, err := c.Exchange(q, addr); err == nil {
			w.WriteMsg(r)
		}
	})
	if got := summary(ask(t, "udp", addr, query("example.net.", dns.TypeA))); got != "SERVFAIL rd ra" {
		t.Errorf("got %s", got)
	}
	if n := up.Received(); n != 2 {
		t.Errorf("the upstream received %d queries, want 2", n)
	}
}

func TestMain(m *testing.M) {
	if os.Getenv(listenEnv) != "" {
		listenUntilEOF()
		return
	}
	os.Exit(m.Run())
}
