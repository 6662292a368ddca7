package apitest

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
)

// OpenLossy opens a store that can lose the outcome of a commit: after loseNext, etcd applies the next commit, but its
// answer does not arrive, so the call fails with ServiceUnavailable.
func OpenLossy(tb testing.TB, tables ...store.Schema) (db *store.Store, loseNext func()) {
	tb.Helper()
	server := storetest.Etcd(tb)
	var lose atomic.Bool
	client := clientv3.NewCtxClient(context.Background())
	client.KV = lossyKV{server.KV, &lose}
	client.Watcher = server.Watcher
	client.Lease = server.Lease
	db = storetest.OpenOn(tb, func() (*clientv3.Client, error) { return client, nil }, tables...)
	return db, func() { lose.Store(true) }
}

type lossyKV struct {
	clientv3.KV
	lose *atomic.Bool
}

func (kv lossyKV) Txn(ctx context.Context) clientv3.Txn {
	return lossyTxn{kv.KV.Txn(ctx), kv.lose}
}

type lossyTxn struct {
	clientv3.Txn
	lose *atomic.Bool
}

func (t lossyTxn) If(cs ...clientv3.Cmp) clientv3.Txn {
	return lossyTxn{t.Txn.If(cs...), t.lose}
}

func (t lossyTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	return lossyTxn{t.Txn.Then(ops...), t.lose}
}

func (t lossyTxn) Commit() (*clientv3.TxnResponse, error) {
	resp, err := t.Txn.Commit()
	if err == nil && t.lose.CompareAndSwap(true, false) {
		return nil, errors.New("the answer of etcd did not arrive")
	}
	return resp, err
}
