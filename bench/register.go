package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// withNode runs a measurement against a node on a new data folder.
func (b *bench) withNode(ctx context.Context, measure func(at nodeAt) error) error {
	dir, err := os.MkdirTemp("", "rollcall-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var at nodeAt
	p, err := start(ctx, "node", roleArgs{Dir: dir, Profile: b.profile}, &at)
	if err != nil {
		return err
	}
	defer p.stop()
	return measure(at)
}

// measureRegister compares signed registrations, durable and visible when they are acknowledged, with the transactions
// of a bare handler in the same etcd. Both receive the same requests.
func measureRegister(ctx context.Context, b *bench) (rows []row, err error) {
	err = b.withNode(ctx, func(at nodeAt) error {
		registered := 1
		for _, load := range []struct {
			clients, requests int
			bound             string
		}{
			{1, b.registerAlone, "fsync of etcd's log"},
			{b.clients, b.registerMany, "CPU: etcd with one more row and two more compares; encoding and decoding rows"},
		} {
			more, err := b.registerWith(ctx, at, load.clients, load.requests, &registered)
			if err != nil {
				return err
			}
			more[0].bound = load.bound
			rows = append(rows, more...)
		}
		return nil
	})
	return rows, err
}

func (b *bench) registerWith(ctx context.Context, at nodeAt, clients, n int, registered *int) ([]row, error) {
	b.say("  %d clients", clients)
	ours, err := newSide(ctx, at.API, at.Control, clients)
	if err != nil {
		return nil, err
	}
	defer ours.close()
	bare, err := newSide(ctx, at.BareRegister, at.Control, clients)
	if err != nil {
		return nil, err
	}
	defer bare.close()
	var requests [][]byte
	turn := 0 // shared by both sides; each request is signed once and sent to both
	fresh := func(s *side) func() (float64, error) {
		return func() (float64, error) {
			if turn%2 == 0 {
				if requests, err = registrations(ctx, at.API, at.ServiceIDs[targetService], *registered, n); err != nil {
					return 0, err
				}
				*registered += n
			}
			turn++
			return s.rate(requests)
		}
	}
	rates, err := compare(b.turns, fresh(ours), fresh(bare))
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("RegisterInstance, %d clients", clients)
	if clients == 1 {
		what = "RegisterInstance, 1 client"
	}
	return rateRows(what, rates, ours, bare, target{rule: atLeast, limit: 0.5}), nil
}

// side is one side of a comparison over HTTP: its connections, and the server's cost of its requests.
type side struct {
	ctx     context.Context
	control string
	conns   []*conn
	cpu     []float64 // microseconds per request, for each turn
}

func newSide(ctx context.Context, addr, control string, clients int) (*side, error) {
	conns, err := dial(addr, clients)
	return &side{ctx: ctx, control: control, conns: conns}, err
}

func (s *side) close() { hangUp(s.conns) }

// rate sends the requests and returns the responses per second.
func (s *side) rate(requests [][]byte) (float64, error) {
	before, err := cpuOf(s.ctx, s.control)
	if err != nil {
		return 0, err
	}
	took, err := send(s.conns, requests)
	if err != nil {
		return 0, err
	}
	after, err := cpuOf(s.ctx, s.control)
	s.cpu = append(s.cpu, micros(after-before)/float64(len(requests)))
	return float64(len(requests)) / took.Seconds(), err
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// rateRows returns the rows of a comparison over HTTP: requests per second, to which the target applies, and the
// server's CPU time per request, which excludes the client.
func rateRows(what string, rates comparison, ours, bare *side, t target) []row {
	var ratios []float64
	for i := range ours.cpu {
		ratios = append(ratios, ours.cpu[i]/bare.cpu[i])
	}
	return []row{
		{what: what, ours: number(rates.ours) + "/s", baseline: number(rates.baseline) + "/s", figure: rates.ratio,
			target: t},
		{what: "  CPU time in the server", ours: number(median(ours.cpu)) + " µs",
			baseline: number(median(bare.cpu)) + " µs", figure: median(ratios)},
	}
}
