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

// guardedClient returns an in-process client of e whose calls on keys and leases are guarded. The guard rejects writes
// that cannot succeed. It ends a call when the engine fails, even if etcd's own goroutine blocks, and discards a result
// that arrives afterwards.
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

// Range implements pb.KVClient.
func (g guardedKV) Range(ctx context.Context, in *pb.RangeRequest, opts ...grpc.CallOption) (*pb.RangeResponse, error) {
	return guarded(ctx, g.e, noSpace, in, opts, g.KVClient.Range)
}

// Put implements pb.KVClient.
func (g guardedKV) Put(ctx context.Context, in *pb.PutRequest, opts ...grpc.CallOption) (*pb.PutResponse, error) {
	return guarded(ctx, g.e, databaseSpace, in, opts, g.KVClient.Put)
}

// DeleteRange implements pb.KVClient.
func (g guardedKV) DeleteRange(
	ctx context.Context, in *pb.DeleteRangeRequest, opts ...grpc.CallOption,
) (*pb.DeleteRangeResponse, error) {
	return guarded(ctx, g.e, logSpace, in, opts, g.KVClient.DeleteRange)
}

// Txn implements pb.KVClient.
func (g guardedKV) Txn(ctx context.Context, in *pb.TxnRequest, opts ...grpc.CallOption) (*pb.TxnResponse, error) {
	return guarded(ctx, g.e, spaceNeedOf(in), in, opts, g.KVClient.Txn)
}

// Compact implements pb.KVClient. It frees space, so it is not rejected for lack of space.
func (g guardedKV) Compact(
	ctx context.Context, in *pb.CompactionRequest, opts ...grpc.CallOption,
) (*pb.CompactionResponse, error) {
	return guarded(ctx, g.e, noSpace, in, opts, g.KVClient.Compact)
}

type guardedLease struct {
	pb.LeaseClient
	e *engine
}

// LeaseGrant implements pb.LeaseClient.
func (g guardedLease) LeaseGrant(
	ctx context.Context, in *pb.LeaseGrantRequest, opts ...grpc.CallOption,
) (*pb.LeaseGrantResponse, error) {
	return guarded(ctx, g.e, databaseSpace, in, opts, g.LeaseClient.LeaseGrant)
}

// LeaseRevoke implements pb.LeaseClient. It deletes keys, so it is not rejected for lack of space.
func (g guardedLease) LeaseRevoke(
	ctx context.Context, in *pb.LeaseRevokeRequest, opts ...grpc.CallOption,
) (*pb.LeaseRevokeResponse, error) {
	return guarded(ctx, g.e, noSpace, in, opts, g.LeaseClient.LeaseRevoke)
}

// spaceNeed is the kind of space that a request needs.
type spaceNeed int

const (
	noSpace       spaceNeed = iota // a read, or a request that frees space, such as a compaction
	logSpace                       // a deletion: needs disk space for the log, but none in the database
	databaseSpace                  // a write: needs disk space, and space in the database
)

// spaceNeedOf returns the greatest need among the operations of both branches.
func spaceNeedOf(txn *pb.TxnRequest) spaceNeed {
	most := noSpace
	for _, ops := range [][]*pb.RequestOp{txn.Success, txn.Failure} {
		for _, op := range ops {
			switch r := op.Request.(type) {
			case *pb.RequestOp_RequestPut:
				return databaseSpace
			case *pb.RequestOp_RequestDeleteRange:
				most = max(most, logSpace)
			case *pb.RequestOp_RequestTxn:
				most = max(most, spaceNeedOf(r.RequestTxn))
			}
		}
	}
	return most
}

// guarded makes one call, guarded as guardedClient describes.
func guarded[Req proto.Message, Resp any](ctx context.Context, e *engine, need spaceNeed, in Req,
	opts []grpc.CallOption,
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
	if need == noSpace {
		resp, err = callDetached(ctx, e, in, opts, call)
	} else {
		if err := e.admitWrite(need, int64(proto.Size(in))); err != nil {
			return none, err
		}
		// A write blocks only in selects that include ctx.Done().
		defer context.AfterFunc(e.ctx, cancel)()
		resp, err = call(ctx, in, opts...)
	}
	if errors.Is(err, rpctypes.ErrGRPCNoSpace) {
		err = e.atLimit("compacting the history to free space")
	}
	if e.failure() != nil {
		return none, unavailable(fmt.Errorf("%w: %w", ErrOutcomeUnknown, e.failure()),
			"the embedded etcd failed during the call")
	}
	return resp, err
}

// callDetached makes a call on a separate goroutine, so that it can return when the engine fails. It is for calls that
// take locks of etcd's backend, which a failed engine may hold forever. It recovers from the panic with which a read in
// a failed engine may end. actionFor in fatal.go recognizes such goroutines by the name of this function.
func callDetached[Req, Resp any](ctx context.Context, e *engine, in Req, opts []grpc.CallOption,
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
	case <-e.ctx.Done():
		var none Resp
		return none, e.failure()
	}
}
