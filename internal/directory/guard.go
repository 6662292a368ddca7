package directory

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Guard is held by who hands addresses out, from before it looks them up until the answer has been sent, so
// that [Directory.WaitForGuards] knows when nobody acts any more on what was true before.
type Guard struct{ inside *atomic.Int64 }

// Release ends the guard. It is called once.
func (g Guard) Release() { g.inside.Add(-1) }

// AcquireGuard takes a guard. It never waits. Who takes one gives it back within seconds, whatever the client does.
func (d *Directory) AcquireGuard() Guard {
	g := Guard{&d.guards.inside[d.guards.epoch.Load()&1][rand.Uint32()%guardShards].n}
	g.inside.Add(1)
	return g
}

// guardShards spreads the guards over counters, so that cores do not fight for one cache line.
const guardShards = 8

// guards counts those inside by the parity of the epoch in which they came, as the Linux kernel's sleepable
// RCU does: who waits turns the epoch and waits for the counters of the old one alone, so that new guards,
// which count elsewhere, cannot keep it waiting for ever.
type guards struct {
	settling sync.Mutex // one WaitForGuards at a time turns the epoch
	epoch    atomic.Uint32
	inside   [2][guardShards]struct {
		n atomic.Int64
		_ [56]byte // a cache line each
	}
}

// WaitForGuards returns when every guard that was taken before the call has been left: whatever answer was decided
// on an older state has then been sent, and its holds are known ([Instance.MarkSent]).
func (d *Directory) WaitForGuards(ctx context.Context) error {
	g := &d.guards
	g.settling.Lock()
	defer g.settling.Unlock()
	// Twice, since a guard may be counted in the epoch before the one in which it looked things up: it read the
	// epoch, and counted itself only after a turn.
	for range 2 {
		old := (g.epoch.Add(1) - 1) & 1
		for wait := 100 * time.Microsecond; g.busy(old); wait = min(2*wait, 5*time.Millisecond) {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

func (g *guards) busy(parity uint32) bool {
	for k := range g.inside[parity] {
		if g.inside[parity][k].n.Load() != 0 {
			return true
		}
	}
	return false
}
