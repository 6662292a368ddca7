package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const (
	// dialTimeout bounds the connection to an external cluster. It leaves time for a leader election.
	dialTimeout = 10 * time.Second

	// The client pings an idle connection after keepAliveTime, and closes it if no reply arrives within
	// keepAliveTimeout. etcd rejects pings more often than every 5 s (--grpc-keepalive-min-time).
	keepAliveTime    = 10 * time.Second
	keepAliveTimeout = 3 * time.Second
)

// dial connects to the external cluster and checks that it meets Rollcall's requirements.
func (s *Server) dial(ctx context.Context) error {
	endpoints := strings.Join(s.cfg.Endpoints, ",")
	c, err := clientv3.New(clientv3.Config{
		Endpoints:            s.cfg.Endpoints,
		DialTimeout:          dialTimeout,
		DialKeepAliveTime:    keepAliveTime,
		DialKeepAliveTimeout: keepAliveTimeout,
		Logger:               zap.New(newCore(s.log, func() bool { return false })),
	})
	if err != nil {
		return fmt.Errorf("etcd endpoints %s: %w", endpoints, err)
	}
	if err := checkCluster(ctx, c, endpoints); err != nil {
		return errors.Join(err, c.Close())
	}
	s.external = c
	return nil
}

// checkCluster checks that the cluster has a leader and allows transactions of MaxTxnOps operations.
func checkCluster(ctx context.Context, c *clientv3.Client, endpoints string) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if _, err := c.Get(ctx, "\x00", clientv3.WithCountOnly()); err != nil {
		return fmt.Errorf("etcd at %s does not answer: %w; check the address, and that the cluster has a leader",
			endpoints, err)
	}
	// etcd counts the operations of a transaction before it evaluates them. MaxTxnOps reads on the branch that is not
	// taken check the limit without executing anything. The request has some 50 kB.
	absent := clientv3.OpGet("\x00", clientv3.WithCountOnly(), clientv3.WithSerializable())
	ops := make([]clientv3.Op, MaxTxnOps)
	for i := range ops {
		ops[i] = absent
	}
	_, err := c.Txn(ctx).Else(ops...).Commit()
	switch {
	case errors.Is(err, rpctypes.ErrTooManyOps):
		return fmt.Errorf(
			"etcd at %s allows too few operations per transaction; start each member with --max-txn-ops=%d",
			endpoints, MaxTxnOps)
	case err != nil:
		return fmt.Errorf("etcd at %s rejected a transaction of %d reads: %w", endpoints, MaxTxnOps, err)
	}
	return nil
}

func (s *Server) closeExternal() error {
	if err := s.external.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("close the connection to etcd: %w", err)
	}
	return nil
}
