package store

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// leaseTTL is the time to live of leases, in seconds. For this long after a node has crashed or lost etcd, no other
// node becomes the leader in its place, and the rows that it wrote with [PutWithLease] remain.
const leaseTTL = 10

// Lead calls work whenever this node is the elected leader, until ctx is done. The context of work ends with the
// leadership. Each node must have a unique name: a node that restarts revokes the lease of its previous process, so
// that no loop has to wait until that lease expires.
func (s *Store) Lead(ctx context.Context, node string, work func(context.Context)) {
	for ctx.Err() == nil {
		if err := s.leadOnce(ctx, node, work); err != nil && ctx.Err() == nil {
			s.log.Warn("leader election failed; control loops pause on this node", "err", err)
		}
		select {
		case <-time.After(retryDelay):
		case <-ctx.Done():
		}
	}
}

// leadOnce campaigns, calls work while this node is the leader, and resigns.
func (s *Store) leadOnce(ctx context.Context, node string, work func(context.Context)) error {
	client, err := s.source()
	if err != nil {
		return err
	}
	election := s.prefix + "leader"
	if err := revokeLeasesOf(ctx, client, election+"/", node); err != nil {
		return fmt.Errorf("revoke the lease of this node's previous process: %w", err)
	}
	session, err := concurrency.NewSession(client, concurrency.WithTTL(leaseTTL), concurrency.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("grant a lease: %w", err)
	}
	defer revokeLease(session) // also when ctx has ended
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

// revokeLease revokes a session's lease, so that the next leader need not wait until it expires. It waits for at most
// [WriteTimeout]. [concurrency.Session.Close] would wait for the whole TTL, which delays the shutdown of a node that
// has lost etcd.
func revokeLease(session *concurrency.Session) {
	session.Orphan()
	ctx, cancel := context.WithTimeout(context.Background(), WriteTimeout)
	defer cancel()
	_, _ = session.Client().Revoke(ctx, session.Lease()) // if this fails, the lease expires
}

// revokeLeasesOf revokes the leases with which a node takes part in an election. prefix is that of the election's keys.
func revokeLeasesOf(ctx context.Context, client *clientv3.Client, prefix, node string) error {
	ctx, cancel := context.WithTimeout(ctx, WriteTimeout)
	defer cancel()
	resp, err := client.Get(ctx, prefix, clientv3.WithPrefix())
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
