package store

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// leaseTTL is how long, in seconds, the leadership of a node that vanished stays taken, and its rows stay held.
const leaseTTL = 10

// Lead runs work whenever this node is the elected leader, until ctx ends. work's context ends with the
// leadership. Each node has a name of its own: a node that starts again takes back at once what its
// former process held, so that no loop waits out a lease that nobody renews.
func (s *Store) Lead(ctx context.Context, node string, work func(context.Context)) {
	for ctx.Err() == nil {
		if err := s.lead(ctx, node, work); err != nil && ctx.Err() == nil {
			s.log.Warn("not the leader; the loops pause here", "err", err)
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
		}
	}
}

// lead campaigns once, works, and gives the leadership back.
func (s *Store) lead(ctx context.Context, node string, work func(context.Context)) error {
	client, err := s.source()
	if err != nil {
		return err
	}
	election := s.prefix + "leader"
	if err := revoke(ctx, client, election+"/", node); err != nil {
		return fmt.Errorf("take back the lease of this node's former process: %w", err)
	}
	session, err := concurrency.NewSession(client, concurrency.WithTTL(leaseTTL), concurrency.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("get a lease: %w", err)
	}
	defer giveBack(session) // also when ctx has ended
	if err := concurrency.NewElection(session, election).Campaign(ctx, node); err != nil {
		return fmt.Errorf("campaign: %w", err)
	}
	leading, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-session.Done():
			cancel()
		case <-leading.Done():
		}
	}()
	work(leading)
	return nil
}

// giveBack revokes the lease, so that the next leader need not wait for its end. It is patient as a write is, not for
// the whole TTL as [concurrency.Session.Close], since a node shall stop soon without etcd too.
func giveBack(session *concurrency.Session) {
	session.Orphan()
	ctx, cancel := context.WithTimeout(context.Background(), WriteTimeout)
	defer cancel()
	_, _ = session.Client().Revoke(ctx, session.Lease()) // failing that, the lease runs out
}

// revoke ends the leases under which a node stands in an election.
func revoke(ctx context.Context, client *clientv3.Client, under, node string) error {
	ctx, cancel := context.WithTimeout(ctx, WriteTimeout)
	defer cancel()
	resp, err := client.Get(ctx, under, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	for _, kv := range resp.Kvs {
		if string(kv.Value) == node && kv.Lease != 0 {
			if _, err := client.Revoke(ctx, clientv3.LeaseID(kv.Lease)); err != nil {
				return err
			}
		}
	}
	return nil
}
