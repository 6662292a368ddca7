package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// listPage is the number of keys in one page of a listing, some 20 MB at 400 bytes a row. etcd counts all remaining
// keys for each page, so many small pages would take longer than a few large ones.
const listPage = 50_000

// retryDelay is the delay before the mirror, a leader election or a lease contacts etcd again after a failure.
const retryDelay = 100 * time.Millisecond

// checkInterval is the time between two checks that the mirror is up to date. The watch alone does not show this: when
// etcd is lost, the client's watch waits forever and reports no error.
const checkInterval = time.Second

// mirror keeps the rows equal to etcd's until ctx is done. It lists all keys, applies the difference, and watches. It
// starts over whenever the watch ends: after a compaction, a lost connection, or a change of the client.
func (s *Store) mirror(ctx context.Context) {
	defer close(s.done)
	for ctx.Err() == nil {
		err := s.listAndWatch(ctx)
		if ctx.Err() != nil {
			return
		}
		s.markStale(err)
		select {
		case <-time.After(retryDelay):
		case <-ctx.Done():
		}
	}
}

// listAndWatch lists all keys once and then watches. It returns an error when the watch ends.
func (s *Store) listAndWatch(ctx context.Context) error {
	client, err := s.source()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	var checks sync.WaitGroup
	defer func() {
		cancel()
		checks.Wait()
	}()
	began := time.Now()
	rev, err := s.list(ctx, client)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	s.markCurrent(began)
	s.markReady()
	checks.Go(func() { s.checkPeriodically(ctx, client) })
	for resp := range client.Watch(ctx, s.prefix, clientv3.WithPrefix(), clientv3.WithRev(rev+1)) {
		if err := resp.Err(); err != nil {
			return fmt.Errorf("watch from revision %d: %w", rev+1, err)
		}
		s.applyEvents(resp.Events)
		if resp.IsProgressNotify() {
			// Only a progress notification guarantees that all earlier events have been delivered. The header of a
			// response with events may carry a revision whose own events are still to come, because etcd sends at most
			// 1,000 revisions at a time to a watcher that is catching up.
			s.advance(resp.Header.Revision)
		}
	}
	return errors.New("the watch ended")
}

// checkPeriodically checks that the mirror is up to date, until ctx is done.
func (s *Store) checkPeriodically(ctx context.Context, client *clientv3.Client) {
	tick := time.NewTicker(checkInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		began := time.Now()
		if err := s.check(ctx, client); err == nil {
			s.markCurrent(began)
		} else if ctx.Err() == nil {
			s.markStale(err)
		}
	}
}

// check reads etcd's revision, which needs a quorum, and waits until the mirror has applied it.
func (s *Store) check(ctx context.Context, client *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, WriteTimeout)
	defer cancel()
	resp, err := client.Get(ctx, s.prefix, clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	return s.Wait(ctx, resp.Header.Revision)
}

// markCurrent records that the mirror was up to date at a time.
func (s *Store) markCurrent(at time.Time) {
	s.currentAt.Store(at.UnixNano())
	if !s.connected.Swap(true) {
		s.log.Info("store is up to date with etcd", "revision", s.Applied())
	}
}

// markStale records that the mirror may be behind etcd because of err.
func (s *Store) markStale(err error) {
	if s.connected.Swap(false) {
		s.log.Warn("etcd is unreachable; serving the last known state", "err", err)
	}
}

func (s *Store) markReady() {
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
}

// list reads the whole keyspace at one revision, and applies the rows that differ from the mirror as one change.
func (s *Store) list(ctx context.Context, client *clientv3.Client) (int64, error) {
	var (
		change Change
		known  = s.Snapshot().rows.byKey.Iter()
		more   = known.First()
	)
	for resp, err := range s.pages(ctx, client) {
		if err != nil {
			return 0, err
		}
		if change.Rev == 0 {
			change.Rev = resp.Header.Revision
			added := int(resp.Count) - s.Snapshot().rows.byKey.Len() // a lower bound
			change.Rows = make([]RowChange, 0, max(0, added))
		}
		diffs := make([]difference, 0, len(resp.Kvs))
		for _, kv := range resp.Kvs {
			key := string(kv.Key[len(s.prefix):])
			for more && known.Key() < key { // deleted in etcd
				diffs = append(diffs, difference{RowChange: RowChange{Key: known.Key(), Old: known.Value().val}})
				more = known.Next()
			}
			var old row
			if more && known.Key() == key {
				old = known.Value()
				more = known.Next()
			}
			if old.mod != kv.ModRevision {
				diffs = append(diffs, difference{RowChange{Key: key, Old: old.val, Revision: kv.ModRevision}, kv.Value})
			}
		}
		s.decodeAll(diffs)
		for _, d := range diffs {
			if d.New != nil || d.deleted() {
				change.Rows = append(change.Rows, d.RowChange)
			}
		}
	}
	for ; more; more = known.Next() {
		change.Rows = append(change.Rows, RowChange{Key: known.Key(), Old: known.Value().val})
	}
	s.apply(change)
	return change.Rev, nil
}

// pages lists the whole keyspace at one revision. It requests the next page while the caller works on the current one.
func (s *Store) pages(ctx context.Context, client *clientv3.Client) iter.Seq2[*clientv3.GetResponse, error] {
	type page struct {
		resp *clientv3.GetResponse
		err  error
	}
	return func(yield func(*clientv3.GetResponse, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		pages := make(chan page)
		var requests sync.WaitGroup
		defer func() {
			cancel()
			requests.Wait()
		}()
		requests.Go(func() {
			defer close(pages)
			from, end, rev := s.prefix, clientv3.GetPrefixRangeEnd(s.prefix), int64(0)
			for {
				resp, err := client.Get(ctx, from,
					clientv3.WithRange(end), clientv3.WithLimit(listPage), clientv3.WithRev(rev))
				select {
				case pages <- page{resp, err}:
				case <-ctx.Done():
					return
				}
				if err != nil || !resp.More {
					return
				}
				rev = cmp.Or(rev, resp.Header.Revision)
				from = string(append(bytes.Clone(resp.Kvs[len(resp.Kvs)-1].Key), 0))
			}
		})
		for p := range pages {
			if !yield(p.resp, p.err) {
				return
			}
		}
	}
}

// difference is a row of a listing that differs from the mirror.
type difference struct {
	RowChange
	value []byte // the row as etcd stores it
}

// deleted reports whether the row no longer exists in etcd.
func (d *difference) deleted() bool { return d.Revision == 0 }

// decodeAll decodes the rows on all cores. New stays nil for a row that decode ignores.
func (s *Store) decodeAll(diffs []difference) {
	var g sync.WaitGroup
	for part := range slices.Chunk(diffs, max(1, len(diffs)/runtime.GOMAXPROCS(0)+1)) {
		g.Go(func() {
			for i := range part {
				if !part[i].deleted() {
					part[i].New = s.decode(part[i].Key, part[i].value)
				}
			}
		})
	}
	g.Wait()
}

// applyEvents applies events. It groups them by revision, so that the writes of one transaction appear together.
func (s *Store) applyEvents(events []*clientv3.Event) {
	for len(events) > 0 {
		rev := events[0].Kv.ModRevision
		c := Change{Rev: rev}
		for len(events) > 0 && events[0].Kv.ModRevision == rev {
			key := string(events[0].Kv.Key[len(s.prefix):])
			rc := RowChange{Key: key, Revision: rev}
			if old, ok := s.tree.byKey.Get(key); ok {
				rc.Old = old.val
			}
			if events[0].Type == mvccpb.PUT {
				if rc.New = s.decode(key, events[0].Kv.Value); rc.New == nil {
					events = events[1:]
					continue
				}
			}
			c.Rows = append(c.Rows, rc)
			events = events[1:]
		}
		s.apply(c)
	}
}

// decode decodes a value into the row type of its table. It returns nil for a key that belongs to no known table, such
// as one of a newer version of Rollcall, and for a value that does not parse, which it logs.
func (s *Store) decode(key string, value []byte) any {
	t, ok := s.schema.table(key)
	if !ok {
		return nil
	}
	val, err := t.decode(value)
	if err != nil {
		s.log.Error("ignoring a row that does not parse", "key", key, "err", err)
		return nil
	}
	return val
}

// apply applies one revision: first to the mirror, then to the followers, and last it advances the applied revision.
// Only the mirror's goroutine calls it.
func (s *Store) apply(c Change) {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	s.mu.Lock()
	s.snap = nil
	for i := range c.Rows {
		s.schema.apply(s.tree, c.Rows[i])
	}
	s.rev = c.Rev
	s.mu.Unlock()
	for _, f := range s.followers {
		f.notify(c)
	}
	s.advance(c.Rev)
}

// advance sets the applied revision to rev, and wakes the callers of Wait that wait for rev or an earlier revision.
func (s *Store) advance(rev int64) {
	if rev <= s.applied.Load() {
		return
	}
	s.mu.Lock()
	if rev > s.rev { // a progress notification: the revisions up to rev changed none of our keys
		s.rev = rev
		s.snap = nil
	}
	s.mu.Unlock()
	s.applied.Store(rev)
	s.waitMu.Lock()
	for ch, want := range s.waiters {
		if want <= rev {
			delete(s.waiters, ch)
			close(ch)
		}
	}
	s.waitMu.Unlock()
}
