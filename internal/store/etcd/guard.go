package etcd

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
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
	return guarded(ctx, g.e, nil, in, opts, g.KVClient.Range)
}

// Put is part of pb.KVClient.
func (g guardedKV) Put(ctx context.Context, in *pb.PutRequest, opts ...grpc.CallOption) (*pb.PutResponse, error) {
	return guarded(ctx, g.e, in, in, opts, g.KVClient.Put)
}

// DeleteRange is part of pb.KVClient.
func (g guardedKV) DeleteRange(ctx context.Context, in *pb.DeleteRangeRequest, opts ...grpc.CallOption) (*pb.DeleteRangeResponse, error) {
	return guarded(ctx, g.e, in, in, opts, g.KVClient.DeleteRange)
}

// Txn is part of pb.KVClient.
func (g guardedKV) Txn(ctx context.Context, in *pb.TxnRequest, opts ...grpc.CallOption) (*pb.TxnResponse, error) {
	if readOnly(in) {
		return guarded(ctx, g.e, nil, in, opts, g.KVClient.Txn)
	}
	return guarded(ctx, g.e, in, in, opts, g.KVClient.Txn)
}

// Compact is part of pb.KVClient. It frees space, so the lack of it is no reason to refuse it.
func (g guardedKV) Compact(ctx context.Context, in *pb.CompactionRequest, opts ...grpc.CallOption) (*pb.CompactionResponse, error) {
	return guarded(ctx, g.e, nil, in, opts, g.KVClient.Compact)
}

type guardedLease struct {
	pb.LeaseClient
	e *engine
}

// LeaseGrant is part of pb.LeaseClient.
func (g guardedLease) LeaseGrant(ctx context.Context, in *pb.LeaseGrantRequest, opts ...grpc.CallOption) (*pb.LeaseGrantResponse, error) {
	return guarded(ctx, g.e, in, in, opts, g.LeaseClient.LeaseGrant)
}

// LeaseRevoke is part of pb.LeaseClient. It removes, so it is not refused for lack of space.
func (g guardedLease) LeaseRevoke(ctx context.Context, in *pb.LeaseRevokeRequest, opts ...grpc.CallOption) (*pb.LeaseRevokeResponse, error) {
	return guarded(ctx, g.e, nil, in, opts, g.LeaseClient.LeaseRevoke)
}

func readOnly(txn *pb.TxnRequest) bool {
	for _, ops := range [][]*pb.RequestOp{txn.Success, txn.Failure} {
		for _, op := range ops {
			switch r := op.Request.(type) {
			case *pb.RequestOp_RequestRange:
			case *pb.RequestOp_RequestTxn:
				if !readOnly(r.RequestTxn) {
					return false
				}
			default:
				return false
			}
		}
	}
	return true
}

// guarded makes one call. write is the request once more if it needs space on the disk, else nil. The call has a
// goroutine of its own because a dead engine may hold locks for ever, and those do not look at ctx.
func guarded[Req, Resp any](ctx context.Context, e *engine, write proto.Message, in Req, opts []grpc.CallOption,
	call func(context.Context, Req, ...grpc.CallOption) (Resp, error),
) (Resp, error) {
	var none Resp
	if err := e.failure(); err != nil {
		return none, err
	}
	if write != nil {
		if e.space.admit(int64(proto.Size(write))) {
			e.lookAtSpace()
		}
		if err := e.hindrance(); err != nil {
			return none, err
		}
	}
	type result struct {
		resp Resp
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if p := recover(); p != nil {
				r.err = fmt.Errorf("etcd: %v", p)
			}
			done <- r
		}()
		r.resp, r.err = call(ctx, in, opts...)
	}()
	select {
	case r := <-done:
		if e.failure() == nil {
			return r.resp, r.err
		}
	case <-e.life.Done():
	}
	return none, unavailable(fmt.Errorf("%w: %w", ErrOutcomeUnknown, e.failure()), "the embedded etcd failed during the call")
}
