// Package expire deregisters the instances whose lease has expired: instances that were registered with a lease and
// that no client has renewed in time. Instances of ECS tasks have no lease.
//
// Leases are measured in time that this process has counted tick by tick ([loop.Ticks]), not by a clock: while the
// process is stopped, the machine sleeps or etcd is unreachable, no lease runs. All leases start again when a node
// becomes the leader and when etcd is reachable again. A pause of the whole system therefore expires nothing; an
// instance that is really gone is deregistered one lease later.
//
// Start reading at [Leases.Run].
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

// batch is the maximum number of instances that one transaction deregisters.
const batch = 50

// Leases tracks the leases of all instances that have one.
type Leases struct {
	db       *store.Store
	writable func() error
	log      *slog.Logger

	mu      sync.Mutex
	elapsed time.Duration     // the time counted so far
	leases  map[string]*lease // by instance key
	queue   queue             // ordered by end; does not contain leases that advance has returned
}

// lease is the lease of one instance.
type lease struct {
	key   string // of the instance's row
	row   *registry.Instance
	end   time.Duration // in elapsed time
	index int           // in the queue, -1 if it is not in the queue
}

// New tracks the leases of db's instances. Run expires them. writable returns an error while nothing can be written,
// and so no lease can be renewed.
func New(db *store.Store, writable func() error, log *slog.Logger) *Leases {
	l := &Leases{db: db, writable: writable, log: log, leases: map[string]*lease{}}
	db.Follow(func(c store.Change) {
		for _, r := range c.Rows {
			if row, ok := r.New.(*registry.Instance); ok {
				l.update(r.Key, row)
			} else if _, ok := r.Old.(*registry.Instance); ok {
				l.remove(r.Key)
			}
		}
	}, registry.Schema()...)
	return l
}

// update applies a change of an instance's row. A renewal or a new registration starts the lease again; another change
// does not.
func (l *Leases) update(key string, row *registry.Instance) {
	duration := row.Lease()
	l.mu.Lock()
	defer l.mu.Unlock()
	current := l.leases[key]
	switch {
	case duration == 0 && current == nil:
	case duration == 0:
		l.removeLocked(current)
	case current == nil:
		current = &lease{key: key, row: row, end: l.elapsed + duration}
		l.leases[key] = current
		heap.Push(&l.queue, current)
	default:
		renewed := !current.row.Renewed.Equal(row.Renewed) || current.row.Operation != row.Operation
		current.row = row
		if renewed {
			current.end = l.elapsed + duration
			l.enqueueLocked(current)
		}
	}
}

// enqueueLocked moves a lease to its position in the queue.
func (l *Leases) enqueueLocked(x *lease) {
	if x.index < 0 {
		heap.Push(&l.queue, x)
	} else {
		heap.Fix(&l.queue, x.index)
	}
}

// remove removes the lease of an instance that was deregistered.
func (l *Leases) remove(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if x := l.leases[key]; x != nil {
		l.removeLocked(x)
	}
}

func (l *Leases) removeLocked(x *lease) {
	delete(l.leases, x.key)
	if x.index >= 0 {
		heap.Remove(&l.queue, x.index)
	}
}

// restart starts all leases again.
func (l *Leases) restart() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = l.queue[:0]
	for _, x := range l.leases {
		x.end = l.elapsed + x.row.Lease()
		x.index = len(l.queue)
		l.queue = append(l.queue, x)
	}
	heap.Init(&l.queue)
}

// advance adds d to the elapsed time and returns up to batch instances whose leases have expired. It does not return
// them again before restart.
func (l *Leases) advance(d time.Duration) []*registry.Instance {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.elapsed += d
	var expired []*registry.Instance
	for len(l.queue) > 0 && l.queue[0].end <= l.elapsed && len(expired) < batch {
		expired = append(expired, heap.Pop(&l.queue).(*lease).row)
	}
	return expired
}

// Run starts all leases again and then expires them until ctx is done.
func (l *Leases) Run(ctx context.Context) error {
	l.restart()
	return loop.Ticks(ctx, func(elapsed time.Duration) {
		if stale, _ := l.db.Stale(); stale || l.writable() != nil {
			l.restart() // no client can renew its lease now
			return
		}
		for expired := l.advance(elapsed); len(expired) > 0; expired = l.advance(0) {
			if err := l.deregister(ctx, expired, time.Now()); err != nil {
				l.log.Warn("failed to deregister instances with expired leases; all leases start again", "err", err)
				l.restart()
				break
			}
		}
	})
}

// deregister deregisters instances in one transaction, except those that were renewed in the meantime.
func (l *Leases) deregister(ctx context.Context, expired []*registry.Instance, now time.Time) error {
	call := registry.NewCall(now)
	_, err := store.Update(ctx, l.db, func(tx *store.Tx) (struct{}, error) {
		for _, row := range expired {
			if err := registry.Expire(tx, row, call); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	})
	return err
}

// queue is a heap of leases. The one that ends next is first. It implements [heap.Interface].
type queue []*lease

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].end < q[j].end }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	l := x.(*lease)
	l.index = len(*q)
	*q = append(*q, l)
}

func (q *queue) Pop() any {
	old := *q
	l := old[len(old)-1]
	l.index = -1
	*q = old[:len(old)-1]
	return l
}
