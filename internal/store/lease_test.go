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

// watchPresence sends whether the row is there, from now on, with each change.
func watchPresence(db *store.Store, id string) <-chan bool {
	there := make(chan bool, 100)
	db.Follow(func(c store.Change) {
		for _, r := range c.Rows {
			if r.Key == presences.Key(id) {
				there <- r.New != nil
			}
		}
	})
	return there
}

func await(t *testing.T, ch <-chan bool, want bool) {
	t.Helper()
	select {
	case got := <-ch:
		if got != want {
			t.Fatalf("the row: there %v, want %v", got, want)
		}
	case <-time.After(time.Minute):
		t.Fatalf("the row: no change in a minute, want there %v", want)
	}
}

// TestHold follows a held row through its life: taken over from a process that was killed, lost with its lease,
// back, given back.
func TestHold(t *testing.T) {
	client := storetest.Etcd(t)
	killed, err := client.Grant(t.Context(), 3600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Put(t.Context(), storetest.Prefix+"/"+presences.Key("a"), `{"Text":"killed"}`, clientv3.WithLease(killed.ID)); err != nil {
		t.Fatal(err)
	}
	db := storetest.OpenOn(t, func() (*clientv3.Client, error) { return client, nil }, presences)
	there := watchPresence(db, "a")
	await(t, there, true)

	release, err := store.PutWithLease(t.Context(), db, presences, "a", &note{Text: "next"})
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := presences.Find(db.Snapshot(), "a"); !ok || n.Text != "next" {
		t.Fatalf("held, but the mirror shows %v, %v", n, ok)
	}
	await(t, there, true) // written anew, never gone
	if resp, err := client.TimeToLive(t.Context(), killed.ID); err != nil || resp.TTL > 0 {
		t.Errorf("the lease of the killed process lives on: %v, %v", resp, err)
	}

	if _, err := client.Revoke(t.Context(), lease(t, client, "a")); err != nil {
		t.Fatal(err)
	}
	await(t, there, false)
	await(t, there, true)

	release()
	await(t, there, false)
}

func lease(t *testing.T, client *clientv3.Client, id string) clientv3.LeaseID {
	t.Helper()
	resp, err := client.Get(context.Background(), storetest.Prefix+"/"+presences.Key(id))
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatalf("read the row of %s: %v, %v", id, resp, err)
	}
	return clientv3.LeaseID(resp.Kvs[0].Lease)
}
