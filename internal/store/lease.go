package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// PutWithLease writes a row that lasts as long as this process does: it hangs on a lease, so it is gone [leaseTTL] after
// the process has died or has lost etcd, and at once after release. While it is held it is not written again; when
// the lease was lost, the row comes back as soon as etcd does. A process that starts again takes the row over from
// its former one without a moment in which it is not there.
//
// ctx bounds the first writing of the row only; when PutWithLease returns, the mirror shows it. Nobody else may write it.
func PutWithLease[T any](ctx context.Context, s *Store, t Table[T], id string, v *T) (release func(), err error) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("store: encode %s %s: %v", t.noun, id, err)) // rows are plain data
	}
	h := &holder{s: s, key: s.prefix + t.prefix + id, value: string(b)}
	run, cancel := context.WithCancel(context.Background())
	session, rev, err := h.take(run, true)
	if err == nil {
		err = s.Wait(ctx, rev)
	}
	if err != nil {
		cancel()
		return nil, unavailable(fmt.Errorf("hold %s %s: %w", t.noun, id, err))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.keep(run, session)
	}()
	return func() {
		cancel()
		<-done
	}, nil
}

// holder keeps one key on a lease.
type holder struct {
	s          *Store
	key, value string
}

// take gets a lease and writes the key on it. first ends the lease that the key hung on before: that of this
// process's predecessor. Later it would be that of a second process that believes to be the same one, and the two
// would end each other's without end.
func (h *holder) take(ctx context.Context, first bool) (*concurrency.Session, int64, error) {
	client, err := h.s.source()
	if err != nil {
		return nil, 0, err
	}
	granting, cancel := context.WithTimeout(ctx, WriteTimeout)
	defer cancel()
	lease, err := client.Grant(granting, leaseTTL)
	if err != nil {
		return nil, 0, fmt.Errorf("get a lease: %w", err)
	}
	session, err := concurrency.NewSession(client, concurrency.WithLease(lease.ID), concurrency.WithContext(ctx))
	if err != nil {
		return nil, 0, fmt.Errorf("keep a lease: %w", err)
	}
	writing, cancel := context.WithTimeout(ctx, WriteTimeout)
	defer cancel()
	resp, err := client.Put(writing, h.key, h.value, clientv3.WithLease(lease.ID), clientv3.WithPrevKV())
	if err != nil {
		giveBack(session)
		return nil, 0, err
	}
	if old := resp.PrevKv; first && old != nil && old.Lease != 0 {
		_, _ = client.Revoke(writing, clientv3.LeaseID(old.Lease)) // nothing hangs on it; failing that, it runs out
	}
	return session, resp.Header.Revision, nil
}

// keep takes the key again whenever its lease was lost, until ctx ends, and then gives it back.
func (h *holder) keep(ctx context.Context, session *concurrency.Session) {
	for {
		select {
		case <-ctx.Done():
			giveBack(session)
			return
		case <-session.Done():
		}
		if ctx.Err() != nil {
			giveBack(session) // it ended with ctx
			return
		}
		h.s.log.Warn("a lease was lost; it is asked for again", "key", h.key)
		for {
			next, _, err := h.take(ctx, false)
			if err == nil {
				session = next
				break
			}
			select {
			case <-time.After(retryPause):
			case <-ctx.Done():
				return // what was held before ends with its lease
			}
		}
		h.s.log.Info("a lease was got again", "key", h.key)
	}
}
