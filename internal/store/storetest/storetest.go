// Package storetest opens real stores for tests: a store.Store over an etcd server that runs in the test's process and
// keeps its files in a temporary folder. Nothing is faked, because Rollcall itself runs etcd in the same way by
// default.
package storetest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/etcd"
)

// Prefix is the key prefix of the stores that [Open] opens.
const Prefix = "rollcall"

// Etcd starts an etcd server for the test and returns its client. The server stops when the test ends.
func Etcd(tb testing.TB) *clientv3.Client {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	defer cancel()
	srv, err := etcd.Start(ctx, etcd.Config{Dir: tb.TempDir()})
	if err != nil {
		tb.Fatalf("start etcd: %v", err)
	}
	tb.Cleanup(func() {
		if err := srv.Close(); err != nil {
			tb.Errorf("stop etcd: %v", err)
		}
	})
	client, err := srv.Client()
	if err != nil {
		tb.Fatalf("etcd client: %v", err)
	}
	return client
}

// Open opens a store on a new etcd server. Both are closed when the test ends.
func Open(tb testing.TB, tables ...store.Schema) *store.Store {
	tb.Helper()
	client := Etcd(tb)
	return OpenOn(tb, func() (*clientv3.Client, error) { return client, nil }, tables...)
}

// OpenOn opens a store on the etcd client that source returns. The store is closed when the test ends.
func OpenOn(tb testing.TB, source store.Source, tables ...store.Schema) *store.Store {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	defer cancel()
	db, err := store.Open(ctx, source, Prefix, slog.New(slog.DiscardHandler), tables...)
	if err != nil {
		tb.Fatalf("open the store: %v", err)
	}
	tb.Cleanup(db.Close)
	return db
}
