package inspect

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/dns/answer"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
)

// newDirectory returns a directory with the private namespace "shop", which answers clients in 10.0.0.0/8 and not in
// 10.9.0.0/16, and its service "web". Instances are written as "ID", "ID:unhealthy", "ID:unready" or "ID:draining";
// "ID/6" has an IPv6 address instead of an IPv4 address.
func newDirectory(policy directory.Policy, records []directory.Record, instances string) *directory.Directory {
	states := map[string]directory.State{
		"": directory.Healthy, "unhealthy": directory.Unhealthy, "unready": directory.Unready,
		"draining": directory.Draining,
	}
	dir := directory.New()
	dir.Apply(1, func(b *directory.Batch) {
		b.PutNamespace(directory.Namespace{ID: "ns-1", Region: "eu-west-1", Name: "shop", HTTPName: "shop",
			Kind:             directory.Private,
			Networks:         []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
			ExcludedNetworks: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}})
		b.PutService(directory.Service{ID: "srv-1", NamespaceID: "ns-1", Name: "web", Records: records, Policy: policy,
			HealthChecked: true})
		for n, word := range strings.Fields(instances) {
			id, state, _ := strings.Cut(word, ":")
			id, v6 := strings.CutSuffix(id, "/6")
			i := &directory.Instance{ID: id, ServiceID: "srv-1", State: states[state], Port: 80}
			if v6 {
				i.IPv6 = netip.MustParseAddr("2001:db8::1")
			} else {
				i.IPv4 = netip.AddrFrom4([4]byte{10, 0, 0, byte(n + 1)})
			}
			b.PutInstance(i)
		}
	})
	return dir
}

var (
	recordsA    = []directory.Record{{Type: directory.A, TTL: 60}}
	recordsSRV  = []directory.Record{{Type: directory.SRV, TTL: 60}}
	recordsBoth = []directory.Record{{Type: directory.A, TTL: 60}, {Type: directory.AAAA, TTL: 60}}
	client      = netip.MustParseAddr("10.1.2.3")
)

func TestLookupInstances(t *testing.T) {
	db := storetest.Open(t, registry.Schema()...)
	for _, tc := range []struct {
		name      string
		policy    directory.Policy
		records   []directory.Record
		instances string
		question  string // name and type
		want      string // "ID in|out: why", one line each
	}{
		{"healthy", directory.Multivalue, recordsA, "a b", "web.shop", "a in: healthy\nb in: healthy"},
		{"the name's case does not matter", directory.Multivalue, recordsA, "a", "WEB.Shop. a", "a in: healthy"},
		{"unhealthy next to healthy", directory.Multivalue, recordsA, "a b:unhealthy", "web.shop A",
			"a in: healthy\nb out: unhealthy"},
		{"all unhealthy", directory.Multivalue, recordsA, "a:unhealthy b:unready", "web.shop",
			"a in: unhealthy; no instance is healthy, so all are answered\nb out: has never been healthy"},
		{"draining and unready", directory.Multivalue, recordsA, "a b:draining c:unready", "web.shop",
			"a in: healthy\nb out: draining: its task is about to be stopped\nc out: has never been healthy"},
		{"other record type", directory.Multivalue, recordsA, "a", "web.shop SRV",
			"a out: the service has no SRV records"},
		{"no address of the type", directory.Multivalue, recordsBoth, "a b/6", "web.shop AAAA",
			"b in: healthy\na out: has no address for AAAA records"},
		{"own name of a healthy instance", directory.Multivalue, recordsSRV, "a b", "a.web.shop",
			"a in: healthy\nb out: the service has no A records"},
		{"own name of an unhealthy instance", directory.Multivalue, recordsSRV, "a:unhealthy b", "a.web.shop",
			"a in: unhealthy; the question is for its own name\nb out: the service has no A records"},
		{"own name of a draining instance", directory.Multivalue, recordsSRV, "a:draining", "a.web.shop",
			"a in: the question is for its own name"},
		{"own name of an unready instance", directory.Multivalue, recordsSRV, "a:unready", "a.web.shop",
			"a in: the question is for its own name"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := &api{db: db, dns: &answer.Authority{Directory: newDirectory(tc.policy, tc.records, tc.instances)}}
			name, typ, _ := strings.Cut(tc.question, " ")
			out, err := a.lookup(name, typ, client)
			if err != nil {
				t.Fatal(err)
			}
			if got := explained(out); got != tc.want {
				t.Errorf("lookup of %s:\n%s\nwant:\n%s", tc.question, got, tc.want)
			}
		})
	}
}

func explained(out *GetLookupOutput) string {
	if out.Service == nil {
		return out.Rcode + ": " + strings.Join(out.Notes, "\n")
	}
	var lines []string
	for _, i := range out.Service.Instances {
		in := "out"
		if i.In {
			in = "in"
		}
		lines = append(lines, fmt.Sprintf("%s %s: %s", i.ID, in, i.Why))
	}
	return strings.Join(lines, "\n")
}

// TestLookupCounts checks the reasons of instances that a full answer does not contain.
func TestLookupCounts(t *testing.T) {
	db := storetest.Open(t, registry.Schema()...)
	for _, tc := range []struct {
		policy  directory.Policy
		in, out int
		why     string
	}{
		{directory.Multivalue, 8, 2, "healthy, but this answer already contains eight instances"},
		{directory.Weighted, 1, 9,
			"healthy, but a WEIGHTED answer contains one instance, and this answer contains another"},
	} {
		a := &api{db: db, dns: &answer.Authority{Directory: newDirectory(tc.policy, recordsA, "a b c d e f g h i j")}}
		out, err := a.lookup("web.shop", "A", client)
		if err != nil {
			t.Fatal(err)
		}
		counts := map[string]int{}
		for _, i := range out.Service.Instances {
			counts[i.Why]++
		}
		if counts["healthy"] != tc.in || counts[tc.why] != tc.out || len(out.Answer) != tc.in {
			t.Errorf("policy %d: %v and %d records, want %d in the answer and %d out", tc.policy, counts,
				len(out.Answer), tc.in, tc.out)
		}
	}
}

func TestLookupWithoutService(t *testing.T) {
	a := &api{db: storetest.Open(t, registry.Schema()...),
		dns: &answer.Authority{Directory: newDirectory(directory.Multivalue, recordsA, "a")}}
	for _, tc := range []struct{ name, client, want string }{
		{"missing.shop", "10.1.2.3", "NXDOMAIN: no instance is registered at this name or below it"},
		{"shop", "10.1.2.3", "NOERROR: "},
		{"web.shop", "192.0.2.1", "REFUSED: namespace shop (ns-1) answers only clients in [10.0.0.0/8], " +
			"except those in [10.9.0.0/16]; 192.0.2.1 is not one of them"},
		{"web.shop", "10.9.0.1", "REFUSED: namespace shop (ns-1) answers only clients in [10.0.0.0/8], " +
			"except those in [10.9.0.0/16]; 10.9.0.1 is not one of them"},
		{"example.com", "10.1.2.3",
			"FORWARDED: no namespace contains this name: queries of tasks and of clients on this " +
				"machine are forwarded to the host's resolvers, and queries of other clients are refused"},
	} {
		out, err := a.lookup(tc.name, "", netip.MustParseAddr(tc.client))
		if err != nil {
			t.Fatal(err)
		}
		if got := explained(out); got != tc.want {
			t.Errorf("lookup of %s by %s:\n%s\nwant:\n%s", tc.name, tc.client, got, tc.want)
		}
	}
	if _, err := a.lookup("web.shop", "TXT", client); err == nil ||
		!strings.Contains(err.Error(), `"TXT" is not supported`) {
		t.Errorf("lookup of TXT records: %v", err)
	}
}

// TestExplainChanged checks that the reason names the time and the cause of bad health.
func TestExplainChanged(t *testing.T) {
	dir := newDirectory(directory.Multivalue, recordsA, "a b:unhealthy")
	v, _ := dir.ServiceByID("srv-1")
	i, _ := dir.Instance("srv-1", "b")
	row := &registry.Instance{Changed: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), By: registry.ByTask}
	in, why := explain(v, i, directory.A, false, row)
	if want := "unhealthy since 2026-03-01T12:00:00Z, by " + string(registry.ByTask); in || why != want {
		t.Errorf("explain = %t, %q; want false, %q", in, why, want)
	}
}

func TestRecord(t *testing.T) {
	for _, tc := range []struct {
		record answer.Record
		want   string // name TTL type value
	}{
		{answer.Record{Owner: answer.Name{From: answer.Question}, Type: uint16(directory.A), TTL: 60,
			Addr: netip.MustParseAddr("10.0.0.1")}, "web.shop 60 A 10.0.0.1"},
		{answer.Record{Owner: answer.Name{From: answer.Question}, Type: uint16(directory.SRV), Port: 80,
			Target: answer.Name{From: answer.Below, Text: "i-1"}}, "web.shop 0 SRV 1 1 80 i-1.web.shop."},
		{answer.Record{Owner: answer.Name{From: answer.Question}, Type: uint16(directory.CNAME), TTL: 5,
			Target: answer.Name{Text: "Example.com"}}, "web.shop 5 CNAME Example.com."},
		{answer.Record{Owner: answer.Name{Text: "api.shop"}, Type: uint16(directory.AAAA), TTL: 5,
			Addr: netip.MustParseAddr("2001:db8::1")}, "api.shop 5 AAAA 2001:db8::1"},
	} {
		r := record("web.shop", tc.record)
		if got := fmt.Sprint(r.Name, " ", r.TTL, " ", r.Type, " ", r.Value); got != tc.want {
			t.Errorf("record = %q, want %q", got, tc.want)
		}
	}
}

func TestAddress(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")
	for _, tc := range []struct {
		instance directory.Instance
		want     string
	}{
		{directory.Instance{IPv4: v4, Port: 80}, "10.0.0.1:80"},
		{directory.Instance{IPv4: v4, IPv6: v6}, "10.0.0.1"},
		{directory.Instance{IPv6: v6, Port: 80}, "2001:db8::1"},
		{directory.Instance{CNAME: "example.com"}, "example.com"},
		{directory.Instance{}, ""},
	} {
		if got := address(&tc.instance); got != tc.want {
			t.Errorf("address = %q, want %q", got, tc.want)
		}
	}
}
