// Package expire deregisters instances whose lease has run out: registrations that are not ECS tasks and
// that nobody renews any more.
//
// Leases are counted in time that this process has seen pass, tick by tick, and never by a clock: while the
// process is stopped, the machine sleeps or etcd is out of reach, no lease runs. When a node begins to lead,
// and when etcd is back, all leases start anew. So a pause of the whole system expires nothing at once;
// holders that are gone are noticed one lease later.
package expire

import (
	"container/heap"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/bakingclouds/rollcall/internal/control/loop"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
)

// batch is how many expired instances one transaction deregisters.
const batch = 50

// Leases counts the leases of all instances that have one.
type Leases struct {
	db       *store.Store
	writable func() error
	log      *slog.Logger

	mu     sync.Mutex
	passed time.Duration // the time seen so far
	held   map[string]*lease
	queue  queue // by end
}

// lease is that of one instance, by the key of its row.
type lease struct {
	key string
	row *registry.Instance
	end time.Duration // in time seen
	at  int           // its place in the queue, -1 when it is in none
}

// New follows the instances; Run expires them. writable says why nothing can be written, renewals neither.
func New(db *store.Store, writable func() error, log *slog.Logger) *Leases {
	l := &Leases{db: db, writable: writable, log: log, held: map[string]*lease{}}
	db.Follow(func(c store.Change) {
		for _, r := range c.Rows {
			if row, ok := r.New.(*registry.Instance); ok {
				l.see(r.Key, row)
			} else if _, ok := r.Old.(*registry.Instance); ok {
				l.forget(r.Key)
			}
		}
	}, registry.Schema()...)
	return l
}

// see takes in an instance's row: a renewal begins its lease anew, any other change leaves it.
func (l *Leases) see(key string, row *registry.Instance) {
	term := row.Lease()
	l.mu.Lock()
	defer l.mu.Unlock()
	held := l.held[key]
	switch {
	case term == 0 && held == nil:
	case term == 0:
		l.drop(held)
	case held == nil:
		held = &lease{key: key, row: row, end: l.passed + term}
		l.held[key] = held
		heap.Push(&l.queue, held)
	default:
		renewed := !held.row.Renewed.Equal(row.Renewed) || held.row.Operation != row.Operation
		held.row = row
		if renewed {
			held.end = l.passed + term
			l.place(held)
		}
	}
}

// place puts a lease where its end belongs.
func (l *Leases) place(held *lease) {
	if held.at < 0 {
		heap.Push(&l.queue, held)
	} else {
		heap.Fix(&l.queue, held.at)
	}
}

func (l *Leases) forget(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if held := l.held[key]; held != nil {
		l.drop(held)
	}
}

func (l *Leases) drop(held *lease) {
	delete(l.held, held.key)
	if held.at >= 0 {
		heap.Remove(&l.queue, held.at)
	}
}

// restart begins every lease anew.
func (l *Leases) restart() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = l.queue[:0]
	for _, held := range l.held {
		held.end = l.passed + held.row.Lease()
		held.at = len(l.queue)
		l.queue = append(l.queue, held)
	}
	heap.Init(&l.queue)
}

// pass lets time pass and returns up to batch instances whose leases are over.
func (l *Leases) pass(d time.Duration) []*registry.Instance {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.passed += d
	var over []*registry.Instance
	for len(l.queue) > 0 && l.queue[0].end <= l.passed && len(over) < batch {
		over = append(over, heap.Pop(&l.queue).(*lease).row)
	}
	return over
}

// Run expires leases until ctx ends. It begins by starting them all anew.
func (l *Leases) Run(ctx context.Context) error {
	l.restart()
	return loop.Ticks(ctx, func(elapsed time.Duration) {
		if stale, _ := l.db.Stale(); stale || l.writable() != nil {
			l.restart() // nobody could renew
			return
		}
		for over := l.pass(elapsed); len(over) > 0; over = l.pass(0) {
			if err := l.expire(ctx, over); err != nil {
				l.log.Warn("leases that ran out could not be ended; all start anew", "err", err)
				l.restart()
				break
			}
		}
	})
}

// expire deregisters instances in one transaction; those renewed meanwhile stay.
func (l *Leases) expire(ctx context.Context, over []*registry.Instance) error {
	call := registry.NewCall(time.Now())
	_, err := store.Update(ctx, l.db, func(tx *store.Tx) (struct{}, error) {
		for _, row := range over {
			if err := registry.Expire(tx, row, call); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	})
	return err
}

// queue is a heap of leases, the next to end first.
type queue []*lease

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].end < q[j].end }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}

func (q *queue) Push(x any) {
	l := x.(*lease)
	l.at = len(*q)
	*q = append(*q, l)
}

func (q *queue) Pop() any {
	old := *q
	l := old[len(old)-1]
	l.at = -1
	*q = old[:len(old)-1]
	return l
}
