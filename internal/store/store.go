// Package store holds Rollcall's rows. It consists of typed tables over one etcd client, transactions that commit only
// if nothing they read has changed, and a mirror of the whole keyspace in memory that serves every read.
//
// The promises:
//
//   - When a transaction ([Update]) returns without error, its writes are durable in etcd, and the mirror and all
//     followers (the directory behind DNS among them) have applied them.
//   - Of two concurrent transactions, one of which reads what the other writes, only one commits: a commit compares
//     every key and every range that was read. The other one waits until the mirror has applied the first one's
//     revision, and runs again.
//   - A [Snapshot] is the state at exactly one revision and never changes. Taking one copies no rows.
//   - When etcd is unreachable, reads continue to return the last known state, and writes fail with fault.Unavailable
//     after [WriteTimeout]. When etcd is back, the mirror applies the difference. It never clears its rows to fill them
//     again.
//
// The package knows keys, revisions and JSON. It does not know what a row means, or whether etcd runs in this process
// or elsewhere; package etcd provides the client.
//
// Start reading with [Table] and [Update]. The mirror is in mirror.go; unknownoutcome.go explains what happens when the
// response to a commit is lost.
package store

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidwall/btree"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/bakingclouds/rollcall/internal/fault"
)

// WriteTimeout is the longest time that a write may take before it fails with fault.Unavailable.
const WriteTimeout = 2 * time.Second

// progressInterval is the time between two progress requests to etcd while a caller waits for a revision.
const progressInterval = 50 * time.Millisecond

// Source returns the current etcd client, or an error while there is none. The store calls it again after each failure,
// because an embedded server has a new client after it has recovered.
type Source func() (*clientv3.Client, error)

// row is a decoded value and the revision that wrote it.
type row struct {
	mod int64
	val any // *T of the key's table
}

// Store is the mirror and the way to write. It is safe for concurrent use.
type Store struct {
	source Source
	prefix string // of every key in etcd, ends in "/"
	log    *slog.Logger
	schema schema

	mu    sync.Mutex
	tree  rows
	snap  *Snapshot // of tree; nil when tree has changed since the last call of Snapshot
	rev   int64     // the revision of tree
	ready chan struct{}

	applyMu   sync.Mutex // held while a revision is applied, followers included
	followers []follower

	applied   atomic.Int64
	waitMu    sync.Mutex
	waiters   map[chan struct{}]int64
	connected atomic.Bool
	currentAt atomic.Int64 // the last time at which the mirror was known to be up to date, in Unix nanoseconds

	unknown unknownOutcomes
	queues  sync.Map // for UpdateSerialized: from a queue's name to a channel that the running transaction occupies

	cancel context.CancelFunc
	done   chan struct{}
}

// rows are the ordered maps of the mirror. A copy shares all nodes with its original until one of them is written.
type rows struct {
	byKey  *btree.Map[string, row]
	index  *btree.Map[string, row] // index, NUL, value, NUL, id
	counts *btree.Map[string, int] // for counted tables: the number of rows below a parent key
}

func newRows() rows {
	return rows{new(btree.Map[string, row]), new(btree.Map[string, row]), new(btree.Map[string, int])}
}

func (r rows) copy() rows { return rows{r.byKey.Copy(), r.index.Copy(), r.counts.Copy()} }

// Change is one revision as the followers see it.
type Change struct {
	Rev  int64
	Rows []RowChange
}

// RowChange is a row before and after a change. Old is nil if the row is new, and New is nil if it was deleted. Both
// are pointers to the table's type. All readers share them, so they must not be modified.
type RowChange struct {
	Key      string // with the table's prefix
	Old, New any
	Revision int64 // the revision that wrote New
}

// Row returns New, or Old if the row was deleted.
func (r RowChange) Row() any {
	if r.New != nil {
		return r.New
	}
	return r.Old
}

// Open starts the mirror and returns when the mirror holds etcd's current state. prefix separates this Rollcall's keys
// from other keys in the same etcd. tables lists every table whose rows are read.
func Open(ctx context.Context, source Source, prefix string, log *slog.Logger, tables ...Schema) (*Store, error) {
	s := &Store{
		source:  source,
		prefix:  strings.TrimSuffix(prefix, "/") + "/",
		log:     log,
		schema:  newSchema(tables),
		tree:    newRows(),
		ready:   make(chan struct{}),
		waiters: map[chan struct{}]int64{},
		done:    make(chan struct{}),
	}
	run, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.currentAt.Store(time.Now().UnixNano())
	go s.mirror(run)
	select {
	case <-s.ready:
		return s, nil
	case <-ctx.Done():
		s.Close()
		return nil, fmt.Errorf("read the state from etcd: %w", ctx.Err())
	}
}

// Close stops the mirror. Its rows stay readable.
func (s *Store) Close() {
	s.cancel()
	<-s.done
}

// Stale reports whether the mirror may be behind etcd, and the last time at which it was known to be up to date.
func (s *Store) Stale() (bool, time.Time) {
	return !s.connected.Load(), time.Unix(0, s.currentAt.Load())
}

// Applied returns the last revision that the mirror and all followers have applied.
func (s *Store) Applied() int64 { return s.applied.Load() }

// Follow calls fn with the whole state as one Change, and then with every revision in order. If tables are given, fn
// sees only the rows of these tables. fn runs on the mirror's goroutine, where it delays every writer, so it should do
// no more than record what has changed.
func (s *Store) Follow(fn func(Change), tables ...Schema) {
	f := follower{fn: fn}
	for _, t := range tables {
		f.prefixes = append(f.prefixes, t.keyPrefix())
	}
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	fn(f.initialChange(s.Snapshot()))
	s.followers = append(s.followers, f)
}

// follower is a function that is called with each change.
type follower struct {
	fn       func(Change)
	prefixes []string // of the keys that the follower sees; empty means all keys
}

// initialChange returns the state of a snapshot as one Change.
func (f follower) initialChange(s *Snapshot) Change {
	all := Change{Rev: s.rev}
	prefixes := f.prefixes
	if len(prefixes) == 0 {
		prefixes = []string{""}
		all.Rows = make([]RowChange, 0, s.rows.byKey.Len())
	}
	for _, p := range prefixes {
		s.scan(p, p, func(key string, r row) bool {
			all.Rows = append(all.Rows, RowChange{Key: key, New: r.val, Revision: r.mod})
			return true
		})
	}
	return all
}

// notify calls the follower with the rows of a change that it sees, if the change has any.
func (f follower) notify(c Change) {
	unseen := func(r RowChange) bool {
		sees := func(prefix string) bool { return strings.HasPrefix(r.Key, prefix) }
		return len(f.prefixes) > 0 && !slices.ContainsFunc(f.prefixes, sees)
	}
	if slices.ContainsFunc(c.Rows, unseen) {
		c.Rows = slices.DeleteFunc(slices.Clone(c.Rows), unseen)
	}
	if len(c.Rows) > 0 {
		f.fn(c)
	}
}

// Snapshot returns the current state. The snapshot never changes.
func (s *Store) Snapshot() *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.snap == nil {
		s.snap = &Snapshot{rows: s.tree.copy(), rev: s.rev}
	}
	return s.snap
}

// Wait waits until the mirror and all followers have applied rev.
func (s *Store) Wait(ctx context.Context, rev int64) error {
	if s.applied.Load() >= rev {
		return nil
	}
	ch := make(chan struct{})
	s.waitMu.Lock()
	if s.applied.Load() >= rev {
		s.waitMu.Unlock()
		return nil
	}
	s.waiters[ch] = rev
	s.waitMu.Unlock()
	ticker := time.NewTicker(progressInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ch:
			return nil
		case <-ticker.C:
			// In a shared etcd, the revision may have written only keys of another program, and then the watch does not
			// deliver it. A progress request makes etcd report the watch's revision. The client finds the stream of the
			// watch by the metadata of its context, so this context must carry the same metadata.
			if c, err := s.source(); err == nil {
				_ = c.RequestProgress(clientv3.WithRequireLeader(ctx)) // if this fails, the wait ends with ctx
			}
		case <-ctx.Done():
			s.waitMu.Lock()
			delete(s.waiters, ch)
			s.waitMu.Unlock()
			return ctx.Err()
		}
	}
}

// unavailable returns the error of a write that did not reach etcd, or whose outcome is unknown.
func unavailable(err error) error {
	if fault.Is(err, fault.Unavailable) {
		return err // the source's own error describes the cause better
	}
	return &fault.Error{
		Kind: fault.Unavailable, What: "store",
		Msg: "The control plane cannot write its state at the moment. " +
			"Running tasks and DNS answers are not affected. Try again.",
		Err: err,
	}
}
