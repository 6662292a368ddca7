package main

import (
	"context"
	"slices"
	"time"
)

// measureVisible queries DNS for each instance immediately after its registration was acknowledged.
func measureVisible(ctx context.Context, b *bench) (rows []row, err error) {
	err = b.withNode(ctx, func(at nodeAt) error {
		conns, err := dial(at.API, 1)
		if err != nil {
			return err
		}
		defer hangUp(conns)
		requests, err := registrations(ctx, at.API, at.ServiceIDs[visibleService], 0, b.visible)
		if err != nil {
			return err
		}
		misses := 0
		var pairs []float64
		for i, request := range requests {
			start := time.Now()
			if _, err := conns[0].do(request); err != nil {
				return err
			}
			// Each instance of a service with SRV records has a name, so the answer cannot come from another instance.
			got, err := addresses(at.DNS, instanceID(i)+"."+visibleService+"."+namespaceName)
			if err != nil {
				return err
			}
			pairs = append(pairs, micros(time.Since(start)))
			if !slices.Contains(got, address(i)) {
				misses++
			}
		}
		rows = []row{{
			what: "Registered, then not in DNS (of " + grouped(int64(b.visible)) + ")", ours: number(float64(misses)),
			figure: float64(misses), target: target{rule: atMost, limit: 0}, bound: "always 0: a write waits for the directory",
		}, {
			what: "  register and query, median; p99", ours: number(median(pairs)) + " µs; " + number(quantile(pairs, 0.99)) +
				" µs",
			figure: median(pairs), target: target{unit: " µs"}, bound: "fsync of etcd's log",
		}}
		return nil
	})
	return rows, err
}
