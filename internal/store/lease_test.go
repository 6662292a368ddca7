package store_test

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
)

var presences = store.NewTable[note]("presence", "test/presence/")

// watchPresence returns a channel that receives, for each change of the row, whether it exists.
func watchPresence(db *store.Store, id string) <-chan bool {
	exists := make(chan bool, 100)
	db.Follow(func(c store.Change) {
		for _, r := range c.Rows {
			if r.Key == presences.Key(id) {
				exists <- r.New != nil
			}
		}
	})
	return exists
}

func await(t *testing.T, ch <-chan bool, want bool) {
	t.Helper()
	select {
	case got := <-ch:
		if got != want {
			t.Fatalf("row exists: %v, want %v", got, want)
		}
	case <-time.After(time.Minute):
		t.Fatalf("the row did not change within a minute, want exists = %v", want)
	}
}

// TestPutWithLease follows a row through its life: it replaces the row of a killed process, disappears with its lease,
// is written again, and is deleted by release.
func TestPutWithLease(t *testing.T) {
	client := storetest.Etcd(t)
	killed, err := client.Grant(t.Context(), 3600)
	if err != nil {
		t.Fatal(err)
	}
	key := storetest.Prefix + "/" + presences.Key("a")
	if _, err := client.Put(t.Context(), key, `{"Text":"killed"}`, clientv3.WithLease(killed.ID)); err != nil {
		t.Fatal(err)
	}
	db := storetest.OpenOn(t, func() (*clientv3.Client, error) { return client, nil }, presences)
	exists := watchPresence(db, "a")
	await(t, exists, true)

	release, err := store.PutWithLease(t.Context(), db, presences, "a", &note{Text: "next"})
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := presences.Find(db.Snapshot(), "a"); !ok || n.Text != "next" {
		t.Fatalf("after PutWithLease, the mirror has %v, %v", n, ok)
	}
	await(t, exists, true) // replaced, not deleted and created
	if resp, err := client.TimeToLive(t.Context(), killed.ID); err != nil || resp.TTL > 0 {
		t.Errorf("the lease of the killed process still exists: %v, %v", resp, err)
	}

	if _, err := client.Revoke(t.Context(), leaseOf(t, client, "a")); err != nil {
		t.Fatal(err)
	}
	await(t, exists, false)
	await(t, exists, true)

	release()
	await(t, exists, false)
}

func leaseOf(t *testing.T, client *clientv3.Client, id string) clientv3.LeaseID {
	t.Helper()
	resp, err := client.Get(context.Background(), storetest.Prefix+"/"+presences.Key(id))
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatalf("read the row of %s: %v, %v", id, resp, err)
	}
	return clientv3.LeaseID(resp.Kvs[0].Lease)
}
