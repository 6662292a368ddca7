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

// Reader is what rows are read from: a [Snapshot] or a [Tx].
type Reader interface {
	get(key string) (row, bool)
	scan(under, from string, fn func(key string, r row) bool)
	scanIndex(under string, fn func(key string, r row) bool)
	count(parent string) int
	note(key string, mod int64)
}

// Snapshot is the state at one revision.
type Snapshot struct {
	rows rows
	rev  int64
}

// Rev is the revision of the snapshot.
func (s *Snapshot) Rev() int64 { return s.rev }

func (s *Snapshot) get(key string) (row, bool) { return s.rows.byKey.Get(key) }
func (s *Snapshot) note(string, int64)         {}
func (s *Snapshot) count(parent string) int    { n, _ := s.rows.counts.Get(parent); return n }

func (s *Snapshot) scan(under, from string, fn func(string, row) bool) {
	s.rows.byKey.Ascend(from, func(key string, r row) bool {
		return strings.HasPrefix(key, under) && fn(key, r)
	})
}

func (s *Snapshot) scanIndex(under string, fn func(string, row) bool) {
	s.rows.index.Ascend(under, func(key string, r row) bool {
		return strings.HasPrefix(key, under) && fn(key, r)
	})
}

// Tx is one attempt of a transaction: it reads one snapshot and its own writes, and notes all it read.
type Tx struct {
	snap   *Snapshot
	reads  map[string]int64 // key -> revision seen, 0 for absent
	ranges []keyRange
	writes map[string]write
	order  []string // of writes
}

type keyRange struct{ from, end string }

type write struct {
	val   any
	bytes []byte // nil deletes
}

// Rev is the revision that the transaction reads.
func (tx *Tx) Rev() int64 { return tx.snap.rev }

// Snapshot is the state that the transaction began with. What is read from it is not compared.
func (tx *Tx) Snapshot() *Snapshot { return tx.snap }

func (tx *Tx) note(key string, mod int64) { tx.reads[key] = mod }

func (tx *Tx) get(key string) (row, bool) {
	if w, ok := tx.writes[key]; ok {
		return row{tx.snap.rev, w.val}, w.val != nil
	}
	r, ok := tx.snap.get(key)
	tx.note(key, r.mod)
	return r, ok
}

func (tx *Tx) count(parent string) int { return tx.snap.count(parent) }

func (tx *Tx) scanIndex(under string, fn func(string, row) bool) { tx.snap.scanIndex(under, fn) }

// scan reads a range of the snapshot, with the transaction's own writes laid over it, and notes the range
// up to where fn stopped.
func (tx *Tx) scan(under, from string, fn func(string, row) bool) {
	var own []string
	for _, key := range tx.order {
		if strings.HasPrefix(key, under) && key >= from {
			own = append(own, key)
		}
	}
	slices.Sort(own)
	stopped := ""
	visit := func(key string, r row) bool {
		if r.val != nil && !fn(key, r) {
			stopped = key
		}
		return stopped == ""
	}
	flush := func(before string) bool { // own writes that come first
		for len(own) > 0 && (before == "" || own[0] <= before) {
			key := own[0]
			own = own[1:]
			if key != before && !visit(key, row{tx.snap.rev, tx.writes[key].val}) {
				return false
			}
		}
		return true
	}
	tx.snap.scan(under, from, func(key string, r row) bool {
		tx.note(key, r.mod)
		if !flush(key) {
			return false
		}
		if w, ok := tx.writes[key]; ok {
			r = row{tx.snap.rev, w.val}
		}
		return visit(key, r)
	})
	if stopped == "" {
		flush("")
	}
	end := clientv3.GetPrefixRangeEnd(under)
	if stopped != "" {
		end = stopped + "\x00"
	}
	tx.ranges = append(tx.ranges, keyRange{from, end})
}

func (tx *Tx) put(key string, val any, bytes []byte) {
	if _, again := tx.writes[key]; !again {
		tx.order = append(tx.order, key)
	}
	tx.writes[key] = write{val, bytes}
}

// Update runs fn in a transaction and commits what it wrote. fn may run several times, each time on a
// newer state, so it touches nothing but tx; an error of fn is returned as it is and writes nothing. When
// Update returns without error, the writes are durable and visible to every reader of this process.
//
// fault.Unavailable means that the outcome is unknown or that nothing was written; a repeat under the same
// invocation ([WithInvocation]) is answered with the first one's result when that was written after all.
func Update[R any](ctx context.Context, s *Store, fn func(*Tx) (R, error)) (R, error) {
	var zero R
	ctx, cancel := context.WithTimeout(ctx, WriteTimeout)
	defer cancel()
	if result, ok, err := s.settle(ctx); err != nil {
		return zero, err
	} else if ok {
		r, same := result.(R)
		if !same {
			return zero, fault.New(fault.Invalid, "request", "the invocation id of this request was used for another one")
		}
		return r, nil
	}
	for {
		tx := &Tx{snap: s.Snapshot(), reads: map[string]int64{}, writes: map[string]write{}}
		result, err := fn(tx)
		if err != nil || len(tx.order) == 0 {
			_ = s.Wait(ctx, tx.snap.rev) // the followers know what the caller learns; ends early only with ctx
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
			s.doubts.add(ctx, tx, result)
			return zero, unavailable(err)
		}
		if err := s.Wait(ctx, rev); err != nil {
			if won {
				s.doubts.add(ctx, tx, result)
			}
			return zero, unavailable(fmt.Errorf("revision %d is not applied yet: %w", rev, err))
		}
		if won {
			return result, nil
		}
	}
}

// commit tries to write; it reports the revision that the attempt won with or lost to.
func (s *Store) commit(ctx context.Context, client *clientv3.Client, tx *Tx) (rev int64, won bool, err error) {
	cmps := make([]clientv3.Cmp, 0, len(tx.reads)+len(tx.ranges))
	for key, mod := range tx.reads {
		cmps = append(cmps, clientv3.Compare(clientv3.ModRevision(s.prefix+key), "=", mod))
	}
	for _, r := range tx.ranges {
		// Nothing in the range is newer than the snapshot; that nothing went away, the reads say. etcd compares
		// an empty range as one key of revision 0, so emptiness passes until somebody writes there.
		cmps = append(cmps, clientv3.Compare(clientv3.ModRevision(s.prefix+r.from), "<", tx.snap.rev+1).WithRange(s.prefix+r.end))
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
