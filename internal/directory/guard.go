package directory

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Guard marks an answer in progress. A caller holds a Guard from before it looks up an address until it has sent the
// answer with it, so that [Directory.WaitForGuards] can wait for every answer that was decided on an older state.
type Guard struct{ active *atomic.Int64 }

// Release ends the guard. It must be called exactly once.
func (g Guard) Release() { g.active.Add(-1) }

// AcquireGuard returns a guard. It never blocks. The caller must release the guard within seconds, even if the client
// is slow to take the answer.
func (d *Directory) AcquireGuard() Guard {
	g := Guard{&d.guards.active[d.guards.epoch.Load()&1][rand.Uint32()%guardShards].n}
	g.active.Add(1)
	return g
}

// guardShards is the number of counters that the guards of one epoch are spread over, so that cores do not contend for
// one cache line.
const guardShards = 8

// guards counts the active guards by the parity of the epoch in which they were acquired, as the Linux kernel's
// sleepable RCU does. A waiter starts a new epoch and waits for the counters of the old one only. New guards increment
// the other counters, so they cannot keep the waiter waiting forever.
type guards struct {
	waitMu sync.Mutex // held by WaitForGuards, so that one caller at a time changes the epoch
	epoch  atomic.Uint32
	active [2][guardShards]struct {
		n atomic.Int64
		_ [56]byte // fills a cache line
	}
}

// WaitForGuards waits until every guard that was acquired before the call has been released. All answers that were
// decided on an older state have been sent by then, and their expiries are known ([Instance.MarkSent]).
func (d *Directory) WaitForGuards(ctx context.Context) error {
	g := &d.guards
	g.waitMu.Lock()
	defer g.waitMu.Unlock()
	// One new epoch is not enough: AcquireGuard reads the epoch and increments a counter in two steps. If an epoch
	// begins between them, the guard is counted in an epoch that was already waited for.
	for range 2 {
		old := (g.epoch.Add(1) - 1) & 1
		for delay := 100 * time.Microsecond; g.anyActive(old); delay = min(2*delay, 5*time.Millisecond) {
			select {
			case <-time.After(delay):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

func (g *guards) anyActive(parity uint32) bool {
	for k := range g.active[parity] {
		if g.active[parity][k].n.Load() != 0 {
			return true
		}
	}
	return false
}
