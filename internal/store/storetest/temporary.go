package storetest

import (
	"context"
	"log/slog"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/etcd"
)

// OpenTemporary opens a store on a new etcd server, as [Open] does. It is for Example functions, which have no
// testing.TB: it panics if it fails, and the caller must call close.
func OpenTemporary(tables ...store.Schema) (db *store.Store, close func()) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir := must(os.MkdirTemp("", "storetest"))
	srv := must(etcd.Start(ctx, etcd.Config{Dir: dir}))
	source := func() (*clientv3.Client, error) { return srv.Client() }
	db = must(store.Open(ctx, source, Prefix, slog.New(slog.DiscardHandler), tables...))
	return db, func() {
		db.Close()
		if err := srv.Close(); err != nil {
			panic(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			panic(err)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
