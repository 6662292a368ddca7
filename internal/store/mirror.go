package store

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// listPage is how many keys one request of a listing asks for: some 20 MB at 400 bytes a row. For each page etcd
// counts all keys that follow, so many small pages would take longer than few large ones.
const listPage = 50_000

// retryPause is how long the mirror waits before it asks a lost etcd again.
const retryPause = 100 * time.Millisecond

// checkEvery is how often it is compared whether the mirror is where etcd is. The watch alone does not tell, since
// etcd's client waits without end, and without a word, for a server that is gone.
const checkEvery = time.Second

// mirror keeps the rows equal to etcd's until ctx ends: list, apply the difference, watch; again from the
// start whenever the watch ends, be it by compaction, a lost connection or an exchanged client.
func (s *Store) mirror(ctx context.Context) {
	defer close(s.done)
	for ctx.Err() == nil {
		err := s.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		s.lost(err)
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
		}
	}
}

// follow lists once and then watches; it returns when the watch ends.
func (s *Store) follow(ctx context.Context) error {
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
	s.fresh(began)
	s.markReady()
	checks.Go(func() { s.keepChecking(ctx, client) })
	for resp := range client.Watch(ctx, s.prefix, clientv3.WithPrefix(), clientv3.WithRev(rev+1)) {
		if err := resp.Err(); err != nil {
			return fmt.Errorf("watch from revision %d: %w", rev+1, err)
		}
		s.applyEvents(resp.Events)
		if resp.IsProgressNotify() {
			// Only such a report says that nothing older is under way: a response that carries events may bear
			// a revision whose own events are still to come (etcd sends at most 1,000 revisions at once to a
			// watcher that catches up).
			s.advance(resp.Header.Revision)
		}
	}
	return fmt.Errorf("the watch ended")
}

// keepChecking compares until ctx ends.
func (s *Store) keepChecking(ctx context.Context, client *clientv3.Client) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asked := time.Now()
		if err := s.check(ctx, client); err == nil {
			s.fresh(asked)
		} else if ctx.Err() == nil {
			s.lost(err)
		}
	}
}

// check asks etcd, and a quorum of it, for its revision, and waits until the mirror is there.
func (s *Store) check(ctx context.Context, client *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, WriteTimeout)
	defer cancel()
	resp, err := client.Get(ctx, s.prefix, clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	return s.Wait(ctx, resp.Header.Revision)
}

// fresh notes that the mirror was not behind etcd at this time.
func (s *Store) fresh(at time.Time) {
	s.since.Store(at.UnixNano())
	if !s.connected.Swap(true) {
		s.log.Info("following etcd", "revision", s.Applied())
	}
}

// lost notes that the mirror cannot know whether it is behind etcd.
func (s *Store) lost(err error) {
	if s.connected.Swap(false) {
		s.log.Warn("lost etcd; answering from the last known state", "err", err)
	}
}

func (s *Store) markReady() {
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
}

// list reads the whole keyspace at one revision and applies what differs from the mirror.
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
			change.Rows = make([]RowChange, 0, max(0, int(resp.Count)-s.Snapshot().rows.byKey.Len())) // what is new, at least
		}
		news := make([]arrival, 0, len(resp.Kvs))
		for _, kv := range resp.Kvs {
			key := string(kv.Key[len(s.prefix):])
			for more && known.Key() < key { // what the mirror has and etcd has no more
				news = append(news, arrival{RowChange: RowChange{Key: known.Key(), Old: known.Value().val}})
				more = known.Next()
			}
			var old row
			if more && known.Key() == key {
				old = known.Value()
				more = known.Next()
			}
			if old.mod != kv.ModRevision {
				news = append(news, arrival{RowChange{Key: key, Old: old.val, Revision: kv.ModRevision}, kv.Value})
			}
		}
		s.decodeAll(news)
		for _, n := range news {
			if n.New != nil || n.gone() {
				change.Rows = append(change.Rows, n.RowChange)
			}
		}
	}
	for ; more; more = known.Next() {
		change.Rows = append(change.Rows, RowChange{Key: known.Key(), Old: known.Value().val})
	}
	s.apply(change)
	return change.Rev, nil
}

// pages lists the whole keyspace at one revision. It asks for a page while the one before is worked on.
func (s *Store) pages(ctx context.Context, client *clientv3.Client) iter.Seq2[*clientv3.GetResponse, error] {
	type page struct {
		resp *clientv3.GetResponse
		err  error
	}
	return func(yield func(*clientv3.GetResponse, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		pages := make(chan page)
		var asking sync.WaitGroup
		defer func() {
			cancel()
			asking.Wait()
		}()
		asking.Go(func() {
			defer close(pages)
			from, end, rev := s.prefix, clientv3.GetPrefixRangeEnd(s.prefix), int64(0)
			for {
				resp, err := client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(listPage), clientv3.WithRev(rev))
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

// arrival is a row in which a listing differs from the mirror.
type arrival struct {
	RowChange
	value []byte // as etcd has it
}

// gone says that etcd has the row no more.
func (a *arrival) gone() bool { return a.Revision == 0 }

// decodeAll decodes the rows on all cores; New stays nil where decode has none.
func (s *Store) decodeAll(news []arrival) {
	var g sync.WaitGroup
	for part := range slices.Chunk(news, max(1, len(news)/runtime.GOMAXPROCS(0)+1)) {
		g.Go(func() {
			for i := range part {
				if !part[i].gone() {
					part[i].New = s.decode(part[i].Key, part[i].value)
				}
			}
		})
	}
	g.Wait()
}

// applyEvents groups events by their revision, so that a transaction appears whole.
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

// decode turns a value into its table's row; nil for keys of no table of ours (a newer Rollcall's), which
// are passed over, and for values that do not parse, which are logged.
func (s *Store) decode(key string, value []byte) any {
	t, ok := s.schema.table(key)
	if !ok {
		return nil
	}
	val, err := t.decode(value)
	if err != nil {
		s.log.Error("a row cannot be read and is ignored", "key", key, "err", err)
		return nil
	}
	return val
}

// apply takes in one revision: the rows, then the followers, then "applied". Only the mirror's goroutine
// calls it.
func (s *Store) apply(c Change) {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	s.mu.Lock()
	s.snap = nil
	for i := range c.Rows {
		s.schema.set(s.tree, c.Rows[i])
	}
	s.rev = c.Rev
	s.mu.Unlock()
	for _, f := range s.followers {
		f.tell(c)
	}
	s.advance(c.Rev)
}

// advance says that everything up to rev is applied, and wakes those who wait for it.
func (s *Store) advance(rev int64) {
	if rev <= s.applied.Load() {
		return
	}
	s.mu.Lock()
	if rev > s.rev { // a report of progress: nothing of ours changed in between
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
