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
	// dialPatience bounds the start against an external cluster: an election may be under way.
	dialPatience = 10 * time.Second

	// A connection on which nothing is heard for this long is asked, and given up without an answer. etcd
	// refuses to be asked more often than every 5 s (--grpc-keepalive-min-time).
	keepAliveTime    = 10 * time.Second
	keepAliveTimeout = 3 * time.Second
)

// dial connects to the external cluster and checks that it serves Rollcall.
func (s *Server) dial(ctx context.Context) error {
	where := strings.Join(s.cfg.Endpoints, ",")
	c, err := clientv3.New(clientv3.Config{
		Endpoints:            s.cfg.Endpoints,
		DialTimeout:          dialPatience,
		DialKeepAliveTime:    keepAliveTime,
		DialKeepAliveTimeout: keepAliveTimeout,
		Logger:               zap.New(newCore(s.log, func() bool { return false })),
	})
	if err != nil {
		return fmt.Errorf("etcd endpoints %s: %w", where, err)
	}
	if err := check(ctx, c, where); err != nil {
		return errors.Join(err, c.Close())
	}
	s.external = c
	return nil
}

func check(ctx context.Context, c *clientv3.Client, where string) error {
	ctx, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	if _, err := c.Get(ctx, "\x00", clientv3.WithCountOnly()); err != nil {
		return fmt.Errorf("etcd at %s does not answer: %w; check the address and that the cluster has a leader", where, err)
	}
	// etcd counts a transaction's operations before it looks at them, so MaxTxnOps reads on the branch that is
	// not taken ask for the limit. Nothing is executed; the request has some 50 kB.
	absent := clientv3.OpGet("\x00", clientv3.WithCountOnly(), clientv3.WithSerializable())
	ops := make([]clientv3.Op, MaxTxnOps)
	for i := range ops {
		ops[i] = absent
	}
	_, err := c.Txn(ctx).Else(ops...).Commit()
	switch {
	case errors.Is(err, rpctypes.ErrTooManyOps):
		return fmt.Errorf("etcd at %s takes too few operations in a transaction: start each member with --max-txn-ops=%d", where, MaxTxnOps)
	case err != nil:
		return fmt.Errorf("etcd at %s refused a transaction of %d reads: %w", where, MaxTxnOps, err)
	}
	return nil
}

func (s *Server) closeExternal() error {
	if err := s.external.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("close the connection to etcd: %w", err)
	}
	return nil
}
