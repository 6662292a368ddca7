package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// PutWithLease writes a row that exists for as long as this process runs. The row is attached to an etcd lease, which
// this process renews. etcd deletes the row [leaseTTL] after the process has crashed or lost etcd, and immediately when
// release is called. While the lease lasts, the row is not written again. If the lease is lost, the row is written with
// a new lease as soon as etcd can be reached. A process that restarts replaces the row of its previous process; the row
// exists throughout.
//
// ctx bounds only the first write of the row. When PutWithLease returns, the mirror has the row. No other code may
// write the row.
func PutWithLease[T any](ctx context.Context, s *Store, t Table[T], id string, v *T) (release func(), err error) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("store: encode %s %s: %v", t.noun, id, err)) // rows are plain data
	}
	k := &leasedKey{s: s, key: s.prefix + t.prefix + id, value: string(b)}
	run, cancel := context.WithCancel(context.Background())
	session, rev, err := k.put(run, true)
	if err == nil {
		err = s.Wait(ctx, rev)
	}
	if err != nil {
		cancel()
		return nil, unavailable(fmt.Errorf("write %s %s with a lease: %w", t.noun, id, err))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.keep(run, session)
	}()
	return func() {
		cancel()
		<-done
	}, nil
}

// leasedKey is a key that is attached to a lease.
type leasedKey struct {
	s          *Store
	key, value string
}

// put is granted a lease and writes the key with it. With revokeOld it revokes the lease to which the key was attached
// before. Only the first put of a process does so, since that lease is the one of its previous process. At any later
// time it would be the lease of a second process with the same name, and the two would revoke each other's leases
// forever.
func (k *leasedKey) put(ctx context.Context, revokeOld bool) (*concurrency.Session, int64, error) {
	client, err := k.s.source()
	if err != nil {
		return nil, 0, err
	}
	granting, cancel := context.WithTimeout(ctx, WriteTimeout)
	defer cancel()
	lease, err := client.Grant(granting, leaseTTL)
	if err != nil {
		return nil, 0, fmt.Errorf("grant a lease: %w", err)
	}
	session, err := concurrency.NewSession(client, concurrency.WithLease(lease.ID), concurrency.WithContext(ctx))
	if err != nil {
		return nil, 0, fmt.Errorf("renew the lease: %w", err)
	}
	writing, cancel := context.WithTimeout(ctx, WriteTimeout)
	defer cancel()
	resp, err := client.Put(writing, k.key, k.value, clientv3.WithLease(lease.ID), clientv3.WithPrevKV())
	if err != nil {
		revokeLease(session)
		return nil, 0, err
	}
	if old := resp.PrevKv; revokeOld && old != nil && old.Lease != 0 {
		// No key is attached to the old lease any more. If this fails, it expires.
		_, _ = client.Revoke(writing, clientv3.LeaseID(old.Lease))
	}
	return session, resp.Header.Revision, nil
}

// keep writes the key with a new lease whenever its lease is lost. It revokes the lease when ctx is done.
func (k *leasedKey) keep(ctx context.Context, session *concurrency.Session) {
	for {
		select {
		case <-ctx.Done():
			revokeLease(session)
			return
		case <-session.Done():
		}
		if ctx.Err() != nil {
			revokeLease(session) // the session ended because ctx ended
			return
		}
		k.s.log.Warn("lease lost; writing the row with a new lease", "key", k.key)
		for {
			next, _, err := k.put(ctx, false)
			if err == nil {
				session = next
				break
			}
			select {
			case <-time.After(retryDelay):
			case <-ctx.Done():
				return // the old lease has expired or will expire
			}
		}
		k.s.log.Info("row written with a new lease", "key", k.key)
	}
}
