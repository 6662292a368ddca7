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

// ask returns the addresses that a random word leads to, in their order.
func ask(a *answer.Authority, r *answer.Reply, name string, typ uint16, word uint64) []netip.Addr {
	a.Answer(answer.Query{Name: name, Type: typ, Client: client, Rand: word}, r)
	var addrs []netip.Addr
	for _, rr := range r.Answer {
		addrs = append(addrs, rr.Addr)
	}
	return addrs
}

func TestHowMany(t *testing.T) {
	for _, tc := range []struct{ have, multivalue, weighted int }{
		{0, 0, 0}, {1, 1, 1}, {7, 7, 1}, {8, 8, 1}, {9, 8, 1}, {1000, 8, 1},
	} {
		t.Run(fmt.Sprint(tc.have), func(t *testing.T) {
			row := fmt.Sprintf("  i-1..%d 10.0.0.1..\n", tc.have)
			a := &answer.Authority{Directory: dnstest.Load(t, "zone corp.\nm A 60\n"+row+"w A 60 weighted\n"+row)}
			var r answer.Reply
			for word := range uint64(200) {
				for name, want := range map[string]int{"m.corp": tc.multivalue, "w.corp": tc.weighted} {
					got := ask(a, &r, name, typeA, word)
					if len(got) != want {
						t.Fatalf("%s: %d answers, want %d", name, len(got), want)
					}
					distinct := map[netip.Addr]bool{}
					for _, addr := range got {
						distinct[addr] = true
					}
					if len(distinct) != want {
						t.Fatalf("%s: %v repeats an address", name, got)
					}
				}
			}
		})
	}
}

// TestUniform draws many answers and compares how often each instance is in one, and in the first place,
// with what an even draw gives. The words are fixed, so the verdict is too; the bound is five standard
// deviations, which an even draw of this many exceeds once in a million.
func TestUniform(t *testing.T) {
	const draws = 20000
	for _, tc := range []struct {
		name, instances string
		typ             uint16
		have, want      int
	}{
		{"few", "m A 60\n  i-1..5 10.0.0.1..", typeA, 5, 5},
		{"eight", "m A 60\n  i-1..8 10.0.0.1..", typeA, 8, 8},
		{"nine", "m A 60\n  i-1..9 10.0.0.1..", typeA, 9, 8},
		{"thousand", "m A 60\n  i-1..1000 10.0.0.1..", typeA, 1000, 8},
		{"weighted", "m A 60 weighted\n  i-1..20 10.0.0.1..", typeA, 20, 1},
		{"unhealthy", "m A 60\n  i-1..20 10.0.0.1.. unhealthy", typeA, 20, 8},
		{"half without", "m A 60 AAAA 60\n  i-1..20 10.0.0.1.. 2001:db8::1..\n  j-1..20 10.0.1.1..", typeAAAA, 20, 8},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := &answer.Authority{Directory: dnstest.Load(t, "zone corp.\n"+tc.instances)}
			var r answer.Reply
			in, first := map[netip.Addr]int{}, map[netip.Addr]int{}
			for word := range uint64(draws) {
				got := ask(a, &r, "m.corp", tc.typ, word)
				for _, addr := range got {
					in[addr]++
				}
				first[got[0]]++
			}
			if len(in) != tc.have || len(first) != tc.have {
				t.Fatalf("%d instances answered, %d in the first place, want %d", len(in), len(first), tc.have)
			}
			even(t, "in the answer", in, draws, float64(tc.want)/float64(tc.have))
			even(t, "in the first place", first, draws, 1/float64(tc.have))
		})
	}
}

// even checks that each count is within five standard deviations of a binomial's mean.
func even(t *testing.T, what string, counts map[netip.Addr]int, n, p float64) {
	t.Helper()
	mean, variance := n*p, n*p*(1-p)
	for addr, count := range counts {
		if off := float64(count) - mean; off*off > 25*variance {
			t.Errorf("%s is %s %d times of %v, an even draw gives %.0f", addr, what, count, n, mean)
		}
	}
}

func TestSameWordSameAnswer(t *testing.T) {
	a := &answer.Authority{Directory: dnstest.Load(t, "zone corp.\nm A 60\n  i-1..100 10.0.0.1..")}
	var r, s answer.Reply
	orders := map[string]bool{}
	for word := range uint64(100) {
		got, again := fmt.Sprint(ask(a, &r, "m.corp", typeA, word)), fmt.Sprint(ask(a, &s, "m.corp", typeA, word))
		if got != again {
			t.Fatalf("word %d gives %s, then %s", word, got, again)
		}
		orders[got] = true
	}
	if len(orders) != 100 {
		t.Errorf("100 words give %d different answers of 8 out of 100", len(orders))
	}
}

// TestAllocations holds that a decision allocates nothing once its Reply has grown, so that an encoder can
// do without garbage too.
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
		{Name: "four.corp", Type: typeA}, {Name: "many.corp", Type: typeA}, {Name: "srv.corp", Type: uint16(directory.SRV)},
		{Name: "i-7.srv.corp", Type: typeA}, {Name: "nobody.corp", Type: typeA}, {Name: "not.ours.test", Type: typeA},
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
