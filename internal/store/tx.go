package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/bakingclouds/rollcall/internal/fault"
)

// Reader is a source of rows: a [Snapshot] or a [Tx].
type Reader interface {
	get(key string) (row, bool)
	scan(prefix, from string, fn func(key string, r row) bool)
	scanIndex(prefix string, fn func(key string, r row) bool)
	count(parent string) int
	noteRead(key string, mod int64)
}

// Snapshot is the state at one revision.
type Snapshot struct {
	rows rows
	rev  int64
}

// Rev returns the revision of the snapshot.
func (s *Snapshot) Rev() int64 { return s.rev }

func (s *Snapshot) get(key string) (row, bool) { return s.rows.byKey.Get(key) }
func (s *Snapshot) noteRead(string, int64)     {}
func (s *Snapshot) count(parent string) int    { n, _ := s.rows.counts.Get(parent); return n }

func (s *Snapshot) scan(prefix, from string, fn func(string, row) bool) {
	s.rows.byKey.Ascend(from, func(key string, r row) bool {
		return strings.HasPrefix(key, prefix) && fn(key, r)
	})
}

func (s *Snapshot) scanIndex(prefix string, fn func(string, row) bool) {
	s.rows.index.Ascend(prefix, func(key string, r row) bool {
		return strings.HasPrefix(key, prefix) && fn(key, r)
	})
}

// Tx is one attempt of a transaction. It reads one snapshot and its own writes, and records everything that it reads.
type Tx struct {
	snap   *Snapshot
	reads  map[string]int64 // from a key to the revision that wrote it, 0 for an absent key
	ranges []keyRange
	writes map[string]write
	order  []string // keys of writes, in the order of their first write
}

type keyRange struct{ from, end string }

type write struct {
	val   any
	bytes []byte // nil deletes the key
}

// Rev returns the revision that the transaction reads.
func (tx *Tx) Rev() int64 { return tx.snap.rev }

// Snapshot returns the state with which the transaction began. The commit does not compare what is read from it.
func (tx *Tx) Snapshot() *Snapshot { return tx.snap }

func (tx *Tx) noteRead(key string, mod int64) { tx.reads[key] = mod }

func (tx *Tx) get(key string) (row, bool) {
	if w, ok := tx.writes[key]; ok {
		return row{tx.snap.rev, w.val}, w.val != nil
	}
	r, ok := tx.snap.get(key)
	tx.noteRead(key, r.mod)
	return r, ok
}

func (tx *Tx) count(parent string) int { return tx.snap.count(parent) }

func (tx *Tx) scanIndex(prefix string, fn func(string, row) bool) { tx.snap.scanIndex(prefix, fn) }

// scan merges a range of the snapshot with the transaction's own writes. It records the range up to the key at which fn
// returned false as read.
func (tx *Tx) scan(prefix, from string, fn func(string, row) bool) {
	var written []string // own writes in the range that have not been visited yet
	for _, key := range tx.order {
		if strings.HasPrefix(key, prefix) && key >= from {
			written = append(written, key)
		}
	}
	slices.Sort(written)
	stoppedAt := ""
	visit := func(key string, r row) bool {
		if r.val != nil && !fn(key, r) {
			stoppedAt = key
		}
		return stoppedAt == ""
	}
	visitWritten := func(before string) bool { // visits the own writes before a key, or all of them if it is empty
		for len(written) > 0 && (before == "" || written[0] <= before) {
			key := written[0]
			written = written[1:]
			if key != before && !visit(key, row{tx.snap.rev, tx.writes[key].val}) {
				return false
			}
		}
		return true
	}
	tx.snap.scan(prefix, from, func(key string, r row) bool {
		tx.noteRead(key, r.mod)
		if !visitWritten(key) {
			return false
		}
		if w, ok := tx.writes[key]; ok {
			r = row{tx.snap.rev, w.val}
		}
		return visit(key, r)
	})
	if stoppedAt == "" {
		visitWritten("")
	}
	end := clientv3.GetPrefixRangeEnd(prefix)
	if stoppedAt != "" {
		end = stoppedAt + "\x00"
	}
	tx.ranges = append(tx.ranges, keyRange{from, end})
}

func (tx *Tx) addWrite(key string, val any, bytes []byte) {
	if _, again := tx.writes[key]; !again {
		tx.order = append(tx.order, key)
	}
	tx.writes[key] = write{val, bytes}
}

// Update runs fn in a transaction and commits what fn has written. fn may run several times, each time on a newer
// state, so it must have no effect other than through tx. If fn returns an error, Update writes nothing and returns
// that error. When Update returns without error, the writes are durable, and every reader of this process sees them.
//
// fault.Unavailable means that nothing was written or that the outcome is unknown. If the caller retries with the same
// invocation id ([WithInvocation]) and the first attempt was applied, Update returns the first attempt's result.
func Update[R any](ctx context.Context, s *Store, fn func(*Tx) (R, error)) (R, error) {
	var zero R
	ctx, cancel := context.WithTimeout(ctx, WriteTimeout)
	defer cancel()
	if earlier, applied, err := s.resolveOutcome(ctx); err != nil {
		return zero, err
	} else if applied {
		r, sameType := earlier.(R)
		if !sameType {
			return zero, fault.New(fault.Invalid, "request",
				"the invocation id was already used for a different request")
		}
		return r, nil
	}
	for {
		tx := &Tx{snap: s.Snapshot(), reads: map[string]int64{}, writes: map[string]write{}}
		result, err := fn(tx)
		if err != nil || len(tx.order) == 0 {
			// The caller may act on what fn has read, so the followers must have seen it. The wait fails only with ctx.
			_ = s.Wait(ctx, tx.snap.rev)
			return result, err
		}
		client, err := s.source()
		if err != nil {
			return zero, unavailable(err)
		}
		rev, won, err := s.commit(ctx, client, tx)
		if errors.Is(err, rpctypes.ErrTooManyOps) || errors.Is(err, rpctypes.ErrRequestTooLarge) {
			return zero, fmt.Errorf("commit %d writes that depend on %d reads: %w", len(tx.order), len(tx.reads), err)
		}
		if err != nil {
			s.unknown.add(ctx, tx, result)
			return zero, unavailable(err)
		}
		if err := s.Wait(ctx, rev); err != nil {
			if won {
				s.unknown.add(ctx, tx, result)
			}
			return zero, unavailable(fmt.Errorf("wait for revision %d: %w", rev, err))
		}
		if won {
			return result, nil
		}
	}
}

// commit writes if nothing that tx has read has changed. It returns etcd's revision and whether the attempt has won.
func (s *Store) commit(ctx context.Context, client *clientv3.Client, tx *Tx) (rev int64, won bool, err error) {
	cmps := make([]clientv3.Cmp, 0, len(tx.reads)+len(tx.ranges))
	for key, mod := range tx.reads {
		cmps = append(cmps, clientv3.Compare(clientv3.ModRevision(s.prefix+key), "=", mod))
	}
	for _, r := range tx.ranges {
		// This fails if a key in the range was written after the snapshot. A deleted key has no revision; the
		// comparison of the single key above detects that. etcd compares an empty range as one key of revision 0, so
		// the comparison of a range that was read as empty succeeds until a key is written there.
		unchanged := clientv3.Compare(clientv3.ModRevision(s.prefix+r.from), "<", tx.snap.rev+1)
		cmps = append(cmps, unchanged.WithRange(s.prefix+r.end))
	}
	ops := make([]clientv3.Op, 0, len(tx.order))
	for _, key := range tx.order {
		if w := tx.writes[key]; w.bytes == nil {
			ops = append(ops, clientv3.OpDelete(s.prefix+key))
		} else {
			ops = append(ops, clientv3.OpPut(s.prefix+key, string(w.bytes)))
		}
	}
	resp, err := client.Txn(ctx).If(cmps...).Then(ops...).Commit()
	if err != nil {
		return 0, false, err
	}
	return resp.Header.Revision, resp.Succeeded, nil
}
