package expire

import (
	"log/slog"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/attributes"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// instance returns an instance with a lease; 0 seconds means that it has none.
func instance(id string, seconds int, renewed time.Time) *registry.Instance {
	i := &registry.Instance{ID: id, Operation: "op-" + id, Renewed: renewed}
	if seconds > 0 {
		i.Attributes = attributes.Of(map[string]string{registry.AttrLease: strconv.Itoa(seconds)})
	}
	return i
}

func newLeases() *Leases { return &Leases{log: slog.Default(), leases: map[string]*lease{}} }

// expiredAfter advances the time by d and returns the ids of the expired instances.
func (l *Leases) expiredAfter(d time.Duration) []string {
	var ids []string
	for _, i := range l.advance(d) {
		ids = append(ids, i.ID)
	}
	slices.Sort(ids)
	return ids
}

func TestLeasesExpire(t *testing.T) {
	l := newLeases()
	l.update("a", instance("a", 10, noon))
	l.update("b", instance("b", 20, noon))
	l.update("c", instance("c", 0, time.Time{}))
	if got := l.expiredAfter(9 * time.Second); len(got) != 0 {
		t.Fatalf("after 9 s: %v, want none", got)
	}
	l.update("a", instance("a", 10, noon.Add(9*time.Second))) // renewed
	if got := l.expiredAfter(9 * time.Second); len(got) != 0 {
		t.Fatalf("after 18 s, with a renewed at 9 s: %v, want none", got)
	}
	if got := l.expiredAfter(2 * time.Second); !slices.Equal(got, []string{"a", "b"}) {
		t.Fatalf("after 20 s: %v, want a and b", got)
	}
	if got := l.expiredAfter(time.Hour); len(got) != 0 {
		t.Fatalf("an hour later: %v, want none", got)
	}
}

// TestOnlyRenewalsCount checks that a change of the health does not renew a lease.
func TestOnlyRenewalsCount(t *testing.T) {
	l := newLeases()
	l.update("a", instance("a", 10, noon))
	l.advance(6 * time.Second)
	unhealthy := instance("a", 10, noon)
	unhealthy.Health = registry.Unhealthy
	l.update("a", unhealthy)
	if got := l.expiredAfter(4 * time.Second); !slices.Equal(got, []string{"a"}) {
		t.Fatalf("after 10 s: %v, want a", got)
	}
}

func TestRestart(t *testing.T) {
	l := newLeases()
	l.update("a", instance("a", 10, noon))
	l.update("b", instance("b", 10, noon))
	if got := l.expiredAfter(10 * time.Second); len(got) != 2 {
		t.Fatalf("after 10 s: %v, want two", got)
	}
	l.restart() // as after a deregistration that failed
	if got := l.expiredAfter(9 * time.Second); len(got) != 0 {
		t.Fatalf("9 s after a restart: %v, want none", got)
	}
	l.remove("b") // deregistered by a client
	if got := l.expiredAfter(time.Second); !slices.Equal(got, []string{"a"}) {
		t.Fatalf("10 s after a restart: %v, want a", got)
	}
}

func TestBatches(t *testing.T) {
	l := newLeases()
	for i := range 3*batch + 1 {
		id := strconv.Itoa(i)
		l.update(id, instance(id, 1+i%5, noon))
	}
	total := 0
	for got := l.expiredAfter(5 * time.Second); len(got) > 0; got = l.expiredAfter(0) {
		if len(got) > batch {
			t.Fatalf("%d instances in one batch, want at most %d", len(got), batch)
		}
		total += len(got)
	}
	if total != 3*batch+1 {
		t.Errorf("%d instances expired, want %d", total, 3*batch+1)
	}
}

// TestDeregister checks that an expired instance is deregistered, except one that was registered again in the meantime.
func TestDeregister(t *testing.T) {
	db := storetest.Open(t, registry.Schema()...)
	scope := arn.Scope{Account: "1", Region: "r"}
	write := func(fn func(tx *store.Tx, call registry.Call) error) {
		t.Helper()
		call := registry.NewCall(time.Now())
		_, err := store.Update(t.Context(), db, func(tx *store.Tx) (struct{}, error) {
			return struct{}{}, fn(tx, call)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var service string
	register := func(id string) {
		t.Helper()
		write(func(tx *store.Tx, call registry.Call) error {
			lease := map[string]string{registry.AttrLease: "30"}
			spec := registry.InstanceSpec{ServiceID: service, ID: id, Attributes: lease}
			_, err := registry.RegisterInstance(tx, scope, spec, call)
			return err
		})
	}
	write(func(tx *store.Tx, call registry.Call) error {
		op, err := registry.CreateNamespace(tx, scope, registry.NamespaceSpec{Kind: registry.HTTP, Name: "shop"}, call)
		if err != nil {
			return err
		}
		spec := registry.ServiceSpec{NamespaceID: op.Targets.Namespace, Name: "web"}
		svc, err := registry.CreateService(tx, scope, spec, call)
		if err != nil {
			return err
		}
		service = svc.ID
		return nil
	})
	l := New(db, func() error { return nil }, slog.New(slog.DiscardHandler))
	register("a")
	register("b")
	expired := l.advance(30 * time.Second)
	if len(expired) != 2 {
		t.Fatalf("%d instances expired, want 2", len(expired))
	}
	register("b")
	if err := l.deregister(t.Context(), expired, time.Now()); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]bool{"a": false, "b": true} {
		ref := registry.InstanceRef{Scope: scope, ServiceID: service, ID: id}
		if _, err := registry.GetInstance(db.Snapshot(), ref); (err == nil) != want {
			t.Errorf("instance %s: registered = %v, want %v", id, err == nil, want)
		}
	}
}
