package answer_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/dns/answer"
	"github.com/bakingclouds/rollcall/internal/dns/dnstest"
)

var client = netip.MustParseAddr("127.0.0.1")

const (
	typeA    = uint16(directory.A)
	typeAAAA = uint16(directory.AAAA)
)

// addresses returns the addresses of the answer for a random number, in order.
func addresses(a *answer.Authority, r *answer.Reply, name string, typ uint16, random uint64) []netip.Addr {
	a.Answer(answer.Query{Name: name, Type: typ, Client: client, Rand: random}, r)
	var addrs []netip.Addr
	for _, rr := range r.Answer {
		addrs = append(addrs, rr.Addr)
	}
	return addrs
}

func TestAnswerSize(t *testing.T) {
	for _, tc := range []struct{ have, multivalue, weighted int }{
		{0, 0, 0}, {1, 1, 1}, {7, 7, 1}, {8, 8, 1}, {9, 8, 1}, {1000, 8, 1},
	} {
		t.Run(fmt.Sprint(tc.have), func(t *testing.T) {
			row := fmt.Sprintf("  i-1..%d 10.0.0.1..\n", tc.have)
			a := &answer.Authority{Directory: dnstest.Load(t, "zone corp.\nm A 60\n"+row+"w A 60 weighted\n"+row)}
			var r answer.Reply
			for random := range uint64(200) {
				for name, want := range map[string]int{"m.corp": tc.multivalue, "w.corp": tc.weighted} {
					got := addresses(a, &r, name, typeA, random)
					if len(got) != want {
						t.Fatalf("%s: %d answers, want %d", name, len(got), want)
					}
					distinct := map[netip.Addr]bool{}
					for _, addr := range got {
						distinct[addr] = true
					}
					if len(distinct) != want {
						t.Fatalf("%s: %v contains an address twice", name, got)
					}
				}
			}
		})
	}
}

// TestUniform counts how often each instance is in an answer and in its first place, and compares the counts with a
// uniform distribution. The random numbers are fixed, so the result never varies. The limit is five standard
// deviations, which a uniform sample exceeds once in a million.
func TestUniform(t *testing.T) {
	const draws = 20000
	for _, tc := range []struct {
		name, instances string
		typ             uint16
		have, want      int
	}{
		{"fewer than eight", "m A 60\n  i-1..5 10.0.0.1..", typeA, 5, 5},
		{"eight", "m A 60\n  i-1..8 10.0.0.1..", typeA, 8, 8},
		{"nine", "m A 60\n  i-1..9 10.0.0.1..", typeA, 9, 8},
		{"thousand", "m A 60\n  i-1..1000 10.0.0.1..", typeA, 1000, 8},
		{"weighted", "m A 60 weighted\n  i-1..20 10.0.0.1..", typeA, 20, 1},
		{"unhealthy", "m A 60\n  i-1..20 10.0.0.1.. unhealthy", typeA, 20, 8},
		{"half without an AAAA record", "m A 60 AAAA 60\n  i-1..20 10.0.0.1.. 2001:db8::1..\n  j-1..20 10.0.1.1..",
			typeAAAA, 20, 8},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := &answer.Authority{Directory: dnstest.Load(t, "zone corp.\n"+tc.instances)}
			var r answer.Reply
			in, first := map[netip.Addr]int{}, map[netip.Addr]int{}
			for random := range uint64(draws) {
				got := addresses(a, &r, "m.corp", tc.typ, random)
				for _, addr := range got {
					in[addr]++
				}
				first[got[0]]++
			}
			if len(in) != tc.have || len(first) != tc.have {
				t.Fatalf("%d instances in answers, %d in the first place, want %d", len(in), len(first), tc.have)
			}
			checkUniform(t, "in the answer", in, draws, float64(tc.want)/float64(tc.have))
			checkUniform(t, "in the first place", first, draws, 1/float64(tc.have))
		})
	}
}

// checkUniform checks that each count is within five standard deviations of the mean of a binomial distribution.
func checkUniform(t *testing.T, what string, counts map[netip.Addr]int, n, p float64) {
	t.Helper()
	mean, variance := n*p, n*p*(1-p)
	for addr, count := range counts {
		if off := float64(count) - mean; off*off > 25*variance {
			t.Errorf("%s is %s %d times of %v, want about %.0f", addr, what, count, n, mean)
		}
	}
}

func TestDeterministic(t *testing.T) {
	a := &answer.Authority{Directory: dnstest.Load(t, "zone corp.\nm A 60\n  i-1..100 10.0.0.1..")}
	var r, s answer.Reply
	orders := map[string]bool{}
	for random := range uint64(100) {
		got := fmt.Sprint(addresses(a, &r, "m.corp", typeA, random))
		again := fmt.Sprint(addresses(a, &s, "m.corp", typeA, random))
		if got != again {
			t.Fatalf("random number %d leads to %s, then to %s", random, got, again)
		}
		orders[got] = true
	}
	if len(orders) != 100 {
		t.Errorf("100 random numbers lead to %d different answers of 8 out of 100", len(orders))
	}
}

// TestAllocations checks that Answer allocates nothing once the Reply has grown to its final size.
func TestAllocations(t *testing.T) {
	a := &answer.Authority{Directory: dnstest.Load(t, `zone corp.
four A 60
  i-1..4 10.0.0.1..
many A 60
  i-1..1000 10.0.0.1..
srv SRV 60
  i-1..20 10.0.0.1.. 2001:db8::1.. :80
`)}
	var r answer.Reply
	for _, q := range []answer.Query{
		{Name: "four.corp", Type: typeA},
		{Name: "many.corp", Type: typeA},
		{Name: "srv.corp", Type: uint16(directory.SRV)},
		{Name: "i-7.srv.corp", Type: typeA},
		{Name: "unknown.corp", Type: typeA},
		{Name: "outside.test", Type: typeA},
	} {
		q.Client = client
		if n := testing.AllocsPerRun(100, func() { q.Rand++; a.Answer(q, &r) }); n != 0 {
			t.Errorf("%s type %d: %v allocations, want none", q.Name, q.Type, n)
		}
	}
}

func BenchmarkAnswer(b *testing.B) {
	for _, tc := range []struct{ name, instances string }{
		{"4 A of 4", "m A 60\n  i-1..4 10.0.0.1.."},
		{"8 A of 1000", "m A 60\n  i-1..1000 10.0.0.1.."},
		{"8 A of 100000", "m A 60\n  i-1..100000 10.0.0.1.."},
		{"8 SRV of 1000", "m SRV 60\n  i-1..1000 10.0.0.1.. :80"},
	} {
		b.Run(tc.name, func(b *testing.B) {
			a := &answer.Authority{Directory: dnstest.Load(b, "zone corp.\n"+tc.instances)}
			typ := typeA
			if tc.name == "8 SRV of 1000" {
				typ = uint16(directory.SRV)
			}
			q := answer.Query{Name: "m.corp", Type: typ, Client: client}
			var r answer.Reply
			b.ReportAllocs()
			for b.Loop() {
				q.Rand++
				a.Answer(q, &r)
			}
			if len(r.Answer) == 0 {
				b.Fatal("no answer")
			}
		})
	}
}
