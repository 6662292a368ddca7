// Package store holds Rollcall's rows: typed tables over one etcd client, transactions that compare all
// they read, and a mirror of the whole keyspace in memory that every read is served from.
//
// The promises:
//
//   - A transaction ([Update]) that returned without error is durable in etcd, and the mirror and all its
//     followers (the directory behind DNS among them) have taken it in.
//   - Two transactions of which one read what the other wrote never both win: a commit compares every key
//     and every range that was read. The loser waits for the revision that it lost to and runs again.
//   - A [Snapshot] is one revision, whole, for as long as its holder keeps it; taking one costs no copy.
//   - Losing etcd empties nothing: reads go on from the last known state, writes fail with
//     fault.Unavailable after [WriteTimeout]. When etcd is back, the difference is applied; nothing is ever
//     cleared and filled again.
//
// store knows keys, revisions and JSON. It does not know what a row means, nor whether etcd runs in this
// process or elsewhere: package etcd obtains the client.
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

// WriteTimeout is how long a write may take before it is given up with fault.Unavailable.
const WriteTimeout = 2 * time.Second

// nudgeEvery is how often a wait for a revision asks etcd how far the watch is.
const nudgeEvery = 50 * time.Millisecond

// Source gives the etcd client of this moment, or an error while there is none. The store asks again
// after each failure, since an embedded server that recovered has a new client.
type Source func() (*clientv3.Client, error)

// row is one decoded value and the revision that wrote it.
type row struct {
	mod int64
	val any // *T of the key's table
}

// Store is the mirror and the way to write. Safe for concurrent use.
type Store struct {
	source Source
	prefix string // of every key in etcd, ends in "/"
	log    *slog.Logger
	schema schema

	mu    sync.Mutex
	tree  rows
	snap  *Snapshot // of tree, nil when tree has changed since
	rev   int64     // of tree
	ready chan struct{}

	applyMu   sync.Mutex // one revision at a time passes to the followers
	followers []follower

	applied   atomic.Int64
	waitMu    sync.Mutex
	waiters   map[chan struct{}]int64
	connected atomic.Bool
	since     atomic.Int64 // unix nanoseconds; when the mirror was last known to be where etcd was

	doubts doubts
	lines  sync.Map // of UpdateSerialized: name to a channel that holds the one whose turn it is

	cancel context.CancelFunc
	done   chan struct{}
}

// rows is the mirror's ordered maps; a copy shares everything until one side writes.
type rows struct {
	byKey  *btree.Map[string, row]
	index  *btree.Map[string, row] // index, NUL, value, NUL, id
	counts *btree.Map[string, int] // of rows below a parent key, for counted tables
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

// RowChange is one row before and after: nil where there was, or is, none. The rows are pointers to the
// table's type, shared by all readers and never written.
type RowChange struct {
	Key      string // with the table's prefix
	Old, New any
	Revision int64 // the revision that wrote New
}

// Row is the row as the change leaves it, or as it was where it is gone.
func (r RowChange) Row() any {
	if r.New != nil {
		return r.New
	}
	return r.Old
}

// Open starts the mirror and returns when it holds the state of etcd as it is. prefix separates this
// Rollcall from whatever else lives in the same etcd. tables lists every table whose rows are read.
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
	s.since.Store(time.Now().UnixNano())
	go s.mirror(run)
	select {
	case <-s.ready:
		return s, nil
	case <-ctx.Done():
		s.Close()
		return nil, fmt.Errorf("read the state from etcd: %w", ctx.Err())
	}
}

// Close stops the mirror. Rows stay readable.
func (s *Store) Close() {
	s.cancel()
	<-s.done
}

// Stale reports whether the mirror has lost etcd, and when it was last known to be where etcd was.
func (s *Store) Stale() (bool, time.Time) {
	return !s.connected.Load(), time.Unix(0, s.since.Load())
}

// Applied is the last revision that the mirror and all followers have taken in.
func (s *Store) Applied() int64 { return s.applied.Load() }

// Follow calls fn with the whole state as one Change, then with every revision in order: with the rows of these tables,
// or of all if none is named. fn runs on the mirror's goroutine and holds up every writer: it only notes what changed.
func (s *Store) Follow(fn func(Change), tables ...Schema) {
	f := follower{fn: fn}
	for _, t := range tables {
		f.prefixes = append(f.prefixes, t.keyPrefix())
	}
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	fn(f.whole(s.Snapshot()))
	s.followers = append(s.followers, f)
}

// follower is who is told of changes.
type follower struct {
	fn       func(Change)
	prefixes []string // of the keys that it sees; none means all
}

// whole is the state as one Change.
func (f follower) whole(s *Snapshot) Change {
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

// tell passes a revision on, if there is anything in it for the follower.
func (f follower) tell(c Change) {
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

// Snapshot returns the state as it is now. It never changes.
func (s *Store) Snapshot() *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.snap == nil {
		s.snap = &Snapshot{rows: s.tree.copy(), rev: s.rev}
	}
	return s.snap
}

// Wait returns when the mirror and all followers have taken in rev.
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
	nudge := time.NewTicker(nudgeEvery)
	defer nudge.Stop()
	for {
		select {
		case <-ch:
			return nil
		case <-nudge.C:
			// The revision may belong to somebody else's keys in a shared etcd: ask how far the watch is. The
			// watch's stream is found by the metadata of its context, so this one must carry the same.
			if c, err := s.source(); err == nil {
				_ = c.RequestProgress(clientv3.WithRequireLeader(ctx)) // failing that, the wait ends with ctx
			}
		case <-ctx.Done():
			s.waitMu.Lock()
			delete(s.waiters, ch)
			s.waitMu.Unlock()
			return ctx.Err()
		}
	}
}

// unavailable is the error of a write that etcd did not take.
func unavailable(err error) error {
	if fault.Is(err, fault.Unavailable) {
		return err // the source knows better what is wrong
	}
	return &fault.Error{
		Kind: fault.Unavailable, What: "store",
		Msg: "The control plane cannot write its state just now; nothing that is being answered is affected. Try again.",
		Err: err,
	}
}
