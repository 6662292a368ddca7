package main

import (
	"context"
	"fmt"
)

// resolver is a DNS server under load: a names role and its queries.
type resolver struct {
	*actor
	at      namesAt
	queries [][]byte
}

func (b *bench) startResolver(ctx context.Context, instances, each int) (*resolver, error) {
	r := &resolver{}
	names := serviceNames(instances, each)
	var err error
	if r.queries, err = questions(names); err != nil {
		return nil, err
	}
	if r.actor, err = start(ctx, "names", roleArgs{Instances: instances, Each: each, Profile: b.profile},
		&r.at); err != nil {
		return nil, err
	}
	if got, err := addresses(r.at.DNS, names[0]); err != nil || len(got) != min(each, 8) {
		return nil, fmt.Errorf("%s has %d addresses, want %d (%v)", names[0], len(got), min(each, 8), r.stop())
	}
	return r, nil
}

// cost returns a function that floods one of the role's servers with n queries and returns the CPU time of its process
// in microseconds per query.
func (r *resolver) cost(ctx context.Context, addr string, n int) func() (float64, error) {
	return func() (float64, error) {
		before, err := cpuOf(ctx, r.at.Control)
		if err != nil {
			return 0, err
		}
		if err := flood(addr, r.queries, n); err != nil {
			return 0, err
		}
		after, err := cpuOf(ctx, r.at.Control)
		return micros(after-before) / float64(n), err
	}
}

// measureDNS compares the server's cost of a query for four A records with the cost of a datagram to a bare echo.
func measureDNS(ctx context.Context, b *bench) ([]row, error) {
	const each = 4
	r, err := b.startResolver(ctx, each, each)
	if err != nil {
		return nil, err
	}
	defer r.stop()
	c, err := compare(b.turns, r.cost(ctx, r.at.DNS, b.queries), r.cost(ctx, r.at.Echo, b.queries))
	if err != nil {
		return nil, err
	}
	return []row{{
		what: "DNS query, 4 A records, against a UDP echo in Go",
		ours: number(c.ours) + " µs", baseline: number(c.baseline) + " µs", figure: c.ratio,
		bound: "unpacking and packing messages with miekg/dns",
	}}, nil
}

// measureGrowth compares the cost of a query between a full and a nearly empty directory.
func measureGrowth(ctx context.Context, b *bench) ([]row, error) {
	full, err := b.startResolver(ctx, b.all, b.each)
	if err != nil {
		return nil, err
	}
	defer full.stop()
	small, err := b.startResolver(ctx, b.few, b.each)
	if err != nil {
		return nil, err
	}
	defer small.stop()
	c, err := compare(b.turns, full.cost(ctx, full.at.DNS, b.queries), small.cost(ctx, small.at.DNS, b.queries))
	if err != nil {
		return nil, err
	}
	return []row{{
		what: fmt.Sprintf("DNS query, %s instances against %s", grouped(int64(b.all)), grouped(int64(b.few))),
		ours: number(c.ours) + " µs", baseline: number(c.baseline) + " µs", figure: c.ratio,
		target: target{rule: atMost, limit: 1.2}, bound: "cache misses while reading eight random instances",
	}}, nil
}
