package main

import (
	"bytes"
	"context"
	"fmt"
)

// discoverClients keeps both cores of a small machine busy without long queues.
const discoverClients = 8

// measureDiscover compares signed DiscoverInstances calls with a bare handler that writes the same bytes.
func measureDiscover(ctx context.Context, b *bench) (rows []row, err error) {
	err = b.withNode(ctx, func(at nodeAt) error {
		for _, n := range discovered {
			more, err := b.discoverOf(ctx, at, n)
			if err != nil {
				return err
			}
			rows = append(rows, more...)
		}
		return nil
	})
	return rows, err
}

func (b *bench) discoverOf(ctx context.Context, at nodeAt, n int) ([]row, error) {
	b.say("  %d instances", n)
	ours, err := newSide(ctx, at.API, at.Control, discoverClients)
	if err != nil {
		return nil, err
	}
	defer ours.close()
	bare, err := newSide(ctx, at.BareDiscover, at.Control, discoverClients)
	if err != nil {
		return nil, err
	}
	defer bare.close()
	signer := newSigner(at.API)
	turn := func(s *side) func() (float64, error) {
		return func() (float64, error) {
			request, err := signer.discover(ctx, discoverService(n))
			if err != nil {
				return 0, err
			}
			requests := make([][]byte, b.discover)
			for i := range requests {
				requests[i] = request
			}
			return s.rate(requests)
		}
	}
	request, err := signer.discover(ctx, discoverService(n))
	if err != nil {
		return nil, err
	}
	body, err := ours.conns[0].do(request)
	if err != nil {
		return nil, err
	}
	if got := bytes.Count(body, []byte(`"InstanceId"`)); got != n {
		return nil, fmt.Errorf("DiscoverInstances returned %d instances, want %d", got, n)
	}
	if err := setCanned(ctx, at.Control, body); err != nil {
		return nil, err
	}
	rates, err := compare(b.turns, turn(ours), turn(bare))
	if err != nil {
		return nil, err
	}
	rows := rateRows(fmt.Sprintf("DiscoverInstances, %d instances", n), rates, ours, bare,
		target{rule: atLeast, limit: 0.7})
	rows[0].bound = "CPU: encoding the response, mainly the attributes"
	return rows, nil
}
