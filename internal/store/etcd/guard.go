package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/proxy/grpcproxy/adapter"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// guardedClient is the in-process client of e, with a guard before its keys and leases: a write is refused while
// it cannot succeed, a call ends when the engine dies even if etcd's own goroutine hangs, and an answer given
// after that is not passed on.
func guardedClient(e *engine) *clientv3.Client {
	c := v3client.New(e.server)
	c.KV = clientv3.NewKVFromKVClient(guardedKV{adapter.KvServerToKvClient(v3rpc.NewQuotaKVServer(e.server)), e}, c)
	c.Lease = clientv3.NewLeaseFromLeaseClient(
		guardedLease{adapter.LeaseServerToLeaseClient(v3rpc.NewQuotaLeaseServer(e.server)), e}, c, time.Second)
	return c
}

type guardedKV struct {
	pb.KVClient
	e *engine
}

// Range is part of pb.KVClient.
func (g guardedKV) Range(ctx context.Context, in *pb.RangeRequest, opts ...grpc.CallOption) (*pb.RangeResponse, error) {
	return guarded(ctx, g.e, reads, in, opts, g.KVClient.Range)
}

// Put is part of pb.KVClient.
func (g guardedKV) Put(ctx context.Context, in *pb.PutRequest, opts ...grpc.CallOption) (*pb.PutResponse, error) {
	return guarded(ctx, g.e, adds, in, opts, g.KVClient.Put)
}

// DeleteRange is part of pb.KVClient.
func (g guardedKV) DeleteRange(ctx context.Context, in *pb.DeleteRangeRequest, opts ...grpc.CallOption) (*pb.DeleteRangeResponse, error) {
	return guarded(ctx, g.e, removes, in, opts, g.KVClient.DeleteRange)
}

// Txn is part of pb.KVClient.
func (g guardedKV) Txn(ctx context.Context, in *pb.TxnRequest, opts ...grpc.CallOption) (*pb.TxnResponse, error) {
	return guarded(ctx, g.e, effectOf(in), in, opts, g.KVClient.Txn)
}

// Compact is part of pb.KVClient. It frees space, so the lack of it is no reason to refuse it.
func (g guardedKV) Compact(ctx context.Context, in *pb.CompactionRequest, opts ...grpc.CallOption) (*pb.CompactionResponse, error) {
	return guarded(ctx, g.e, reads, in, opts, g.KVClient.Compact)
}

type guardedLease struct {
	pb.LeaseClient
	e *engine
}

// LeaseGrant is part of pb.LeaseClient.
func (g guardedLease) LeaseGrant(ctx context.Context, in *pb.LeaseGrantRequest, opts ...grpc.CallOption) (*pb.LeaseGrantResponse, error) {
	return guarded(ctx, g.e, adds, in, opts, g.LeaseClient.LeaseGrant)
}

// LeaseRevoke is part of pb.LeaseClient. It removes, so it is not refused for lack of space.
func (g guardedLease) LeaseRevoke(ctx context.Context, in *pb.LeaseRevokeRequest, opts ...grpc.CallOption) (*pb.LeaseRevokeResponse, error) {
	return guarded(ctx, g.e, reads, in, opts, g.LeaseClient.LeaseRevoke)
}

// effect is what a request does to the database, as far as space is concerned.
type effect int

const (
	reads   effect = iota // needs none; or gives some back, as compaction does
	removes               // needs space on the disk, for the log, but is wanted when the database is at its limit
	adds                  // needs both
)

func effectOf(txn *pb.TxnRequest) effect {
	most := reads
	for _, ops := range [][]*pb.RequestOp{txn.Success, txn.Failure} {
		for _, op := range ops {
			switch r := op.Request.(type) {
			case *pb.RequestOp_RequestPut:
				return adds
			case *pb.RequestOp_RequestDeleteRange:
				most = max(most, removes)
			case *pb.RequestOp_RequestTxn:
				most = max(most, effectOf(r.RequestTxn))
			}
		}
	}
	return most
}

// guarded makes one call.
func guarded[Req proto.Message, Resp any](ctx context.Context, e *engine, does effect, in Req, opts []grpc.CallOption,
	call func(context.Context, Req, ...grpc.CallOption) (Resp, error),
) (Resp, error) {
	var none Resp
	if err := e.failure(); err != nil {
		return none, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var resp Resp
	var err error
	if does == reads {
		resp, err = aside(ctx, e, in, opts, call)
	} else {
		if err := e.letIn(does, int64(proto.Size(in))); err != nil {
			return none, err
		}
		// A write waits in selects that look at ctx.
		defer context.AfterFunc(e.life, cancel)()
		resp, err = call(ctx, in, opts...)
	}
	if errors.Is(err, rpctypes.ErrGRPCNoSpace) {
		err = e.atLimit("history is being dropped to make room")
	}
	if e.failure() != nil {
		return none, unavailable(fmt.Errorf("%w: %w", ErrOutcomeUnknown, e.failure()), "the embedded etcd failed during the call")
	}
	return resp, err
}

// aside makes a call that takes locks in etcd's backend on a goroutine of its own: a dead engine may hold those for
// ever. It catches the panic that a read in a dead engine may end with.
func aside[Req, Resp any](ctx context.Context, e *engine, in Req, opts []grpc.CallOption,
	call func(context.Context, Req, ...grpc.CallOption) (Resp, error),
) (Resp, error) {
	type result struct {
		resp Resp
		err  error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if p := recover(); p != nil {
				e.fail(fmt.Errorf("%v", p))
			}
			done <- r
		}()
		r.resp, r.err = call(ctx, in, opts...)
	}()
	select {
	case r := <-done:
		return r.resp, r.err
	case <-e.life.Done():
		var none Resp
		return none, e.failure()
	}
}
