package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/dns/answer"
)

// measureDirectory compares the cost of a change and of an answer between a large and a small directory.
func measureDirectory(_ context.Context, b *bench) ([]row, error) {
	b.say("  one more instance")
	more, err := compare(b.turns, oneMore(b.large, b.changes), oneMore(b.small, b.changes))
	if err != nil {
		return nil, err
	}
	b.say("  an answer")
	answers, err := compare(b.turns, answerCost(b.all, b.each, b.answer), answerCost(b.few, b.each, b.answer))
	if err != nil {
		return nil, err
	}
	against := func(what string, large, small int) string {
		return fmt.Sprintf("%s, %s instances against %s", what, grouped(int64(large)), grouped(int64(small)))
	}
	return []row{{
		what: against("Directory: one more in a service", b.large, b.small),
		ours: number(more.ours) + " µs", baseline: number(more.baseline) + " µs", figure: more.ratio,
		target: target{rule: atMost, limit: 2}, bound: "copies of one leaf and one page, and garbage collection",
	}, {
		what: against("DNS decision alone", b.all, b.few),
		ours: number(answers.ours) + " µs", baseline: number(answers.baseline) + " µs", figure: answers.ratio,
		target: target{rule: atMost, limit: 1.2}, bound: "cache misses while reading eight random instances",
	}}, nil
}

// oneMore returns a function that adds an instance to a service of a given size and removes it, n times, and returns
// the microseconds per change.
func oneMore(size, n int) func() (float64, error) {
	d := fullDirectory(size, size)
	one := &directory.Instance{ID: "one-more", ServiceID: "srv-0", IPv4: address(size)}
	rev := int64(2)
	return func() (float64, error) {
		start := time.Now()
		for range n {
			d.Apply(rev, func(b *directory.Batch) { b.PutInstance(one) })
			d.Apply(rev+1, func(b *directory.Batch) { b.RemoveInstance(one.ServiceID, one.ID) })
			rev += 2
		}
		return micros(time.Since(start)) / float64(2*n), nil
	}
}

// answerCost returns a function that decides n queries for random services, and returns the microseconds per query.
func answerCost(instances, each, n int) func() (float64, error) {
	a := answer.Authority{Directory: fullDirectory(instances, each)}
	// Shuffle the queries, so that reading them in order, which the processor can prefetch, selects random services.
	names := serviceNames(instances, each)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(names), func(i, k int) { names[i], names[k] = names[k], names[i] })
	for i, name := range names {
		names[i] = strings.Clone(name)
	}
	q := answer.Query{Type: uint16(directory.A), Client: netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	return func() (float64, error) {
		rnd := rand.New(rand.NewPCG(1, 2))
		var r answer.Reply
		start := time.Now()
		for k := range n {
			q.Name, q.Rand = names[k%len(names)], rnd.Uint64()
			if a.Answer(q, &r); len(r.Answer) != min(each, 8) {
				return 0, fmt.Errorf("%s has %d answers, want %d", q.Name, len(r.Answer), min(each, 8))
			}
		}
		return micros(time.Since(start)) / float64(n), nil
	}
}
