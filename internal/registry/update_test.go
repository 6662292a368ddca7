package registry_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
)

// TestUpdateService checks which updates a service accepts, and the longest TTL that clients may still cache.
func TestUpdateService(t *testing.T) {
	record := func(kind registry.RecordType, ttl int64) registry.Record {
		return registry.Record{Type: kind, TTL: ttl}
	}
	probe := func(kind string) *registry.HealthCheck { return &registry.HealthCheck{Type: kind} }
	for _, tc := range []struct {
		name, service string
		change        registry.ServiceChange
		want          string
		longest       time.Duration
	}{
		{"lower TTL", "A", registry.ServiceChange{Records: []registry.Record{record(registry.A, 5)}}, "ok", 10 * time.Second},
		{"higher TTL", "A", registry.ServiceChange{Records: []registry.Record{record(registry.A, 60)}}, "ok", time.Minute},
		{"another type", "A", registry.ServiceChange{Records: []registry.Record{record(registry.AAAA, 5)}}, "invalid",
			10 * time.Second},
		{"types in another order", "A SRV", registry.ServiceChange{
			Records: []registry.Record{record(registry.SRV, 5), record(registry.A, 5)},
		}, "ok", 10 * time.Second},
		{"health check for custom health", "A custom", registry.ServiceChange{HealthCheck: probe("TCP")}, "invalid",
			10 * time.Second},
		{"health check", "A http", registry.ServiceChange{HealthCheck: probe("HTTP")}, "ok", 10 * time.Second},
		{"another type of health check", "A http", registry.ServiceChange{HealthCheck: probe("TCP")}, "invalid",
			10 * time.Second},
		{"no health check", "A http", registry.ServiceChange{}, "ok", 10 * time.Second},
	} {
		r := newReg(t)
		id := r.service(r.namespace(registry.Public, "shop.example"), "cart", tc.service)
		op, err := do(r, func(tx *store.Tx) (*registry.Operation, error) {
			return registry.UpdateService(tx, sc, id, tc.change, registry.NewCall(noon))
		})
		if got := verdict(op, err); got != tc.want {
			t.Errorf("%s: %s (%v), want %s", tc.name, got, err, tc.want)
		}
		svc, err := registry.GetService(r.db.Snapshot(), sc, id)
		if err != nil || svc.LongestTTL() != tc.longest {
			t.Errorf("%s: longest TTL %v, want %v (%v)", tc.name, svc.LongestTTL(), tc.longest, err)
		}
	}
}

// TestServiceAttributes checks the limit of a service's attributes.
func TestServiceAttributes(t *testing.T) {
	r := newReg(t)
	id := r.service(r.namespace(registry.HTTP, "shop"), "cart", "")
	put := func(n int) error {
		attributes := map[string]string{}
		for i := range n {
			attributes[fmt.Sprint("k", i)] = "v"
		}
		_, err := do(r, func(tx *store.Tx) (struct{}, error) {
			return struct{}{}, registry.PutServiceAttributes(tx, sc, id, attributes)
		})
		return err
	}
	if err := put(registry.MaxServiceAttributes + 1); !fault.Is(err, fault.Limit) {
		t.Errorf("too many attributes: %v", err)
	}
	if err := put(2); err != nil {
		t.Error(err)
	}
	if _, err := do(r, func(tx *store.Tx) (struct{}, error) {
		return struct{}{}, registry.DeleteServiceAttributes(tx, sc, id, []string{"k0", "unknown"})
	}); err != nil {
		t.Error(err)
	}
	if svc, err := registry.GetService(r.db.Snapshot(), sc, id); err != nil || fmt.Sprint(svc.Attributes) != "map[k1:v]" {
		t.Errorf("attributes %v, %v", svc.Attributes, err)
	}
}

// TestScanServices checks the ranges of services.
func TestScanServices(t *testing.T) {
	r := newReg(t)
	shop, blog := r.namespace(registry.HTTP, "shop"), r.namespace(registry.HTTP, "blog")
	names := map[string]string{r.service(shop, "cart", ""): "cart", r.service(shop, "stock", ""): "stock",
		r.service(blog, "posts", ""): "posts"}
	scan := func(in registry.ServiceRange) (ids []string) {
		registry.ScanServices(r.db.Snapshot(), sc, in, func(s *registry.Service) bool {
			ids = append(ids, s.ID)
			return true
		})
		return ids
	}
	all, inShop := scan(registry.ServiceRange{}), scan(registry.ServiceRange{NamespaceID: shop})
	if len(all) != 3 || len(inShop) != 2 {
		t.Fatalf("%d services, %d of them in shop; want 3 and 2", len(all), len(inShop))
	}
	if got := scan(registry.ServiceRange{After: all[0]}); strings.Join(got, " ") != strings.Join(all[1:], " ") {
		t.Errorf("after the first service: %v", got)
	}
	if got := scan(registry.ServiceRange{NamespaceID: shop, After: inShop[0]}); len(got) != 1 || got[0] != inShop[1] {
		t.Errorf("after the first service of shop: %v", got)
	}
	if names[inShop[0]] == "posts" || names[inShop[1]] == "posts" {
		t.Error("shop has a service of blog")
	}
}

// TestFindNamespaceByName checks that a name is found only if exactly one namespace has it.
func TestFindNamespaceByName(t *testing.T) {
	r := newReg(t)
	ids := map[string]string{
		"private": r.namespace(registry.Private, "shop.local"), "http": r.namespace(registry.HTTP, "Shop"),
	}
	r.namespace(registry.Private, "twice.local")
	r.namespace(registry.Public, "twice.local")
	for name, want := range map[string]string{
		"shop.local": "private", "SHOP.local": "private", "Shop": "http", "shop": "", "twice.local": "", "other": "",
	} {
		ns, ok := registry.FindNamespaceByName(r.db.Snapshot(), sc, name)
		if ok != (want != "") || ok && ns.ID != ids[want] {
			t.Errorf("%s: found %v, want %q", name, ok, want)
		}
	}
}

// TestScanOperations checks the order of operations, and that those of a deleted namespace are skipped.
func TestScanOperations(t *testing.T) {
	r := newReg(t)
	var ids []string
	for i, name := range []string{"a", "b", "c"} {
		op, err := do(r, func(tx *store.Tx) (*registry.Operation, error) {
			call := registry.NewCall(noon.Add(time.Duration(i) * time.Second))
			return registry.CreateNamespace(tx, sc, registry.NamespaceSpec{Kind: registry.HTTP, Name: name}, call)
		})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, op.ID)
	}
	deleted, err := registry.GetOperation(r.db.Snapshot(), sc, ids[1])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := do(r, func(tx *store.Tx) (*registry.Operation, error) {
		return registry.DeleteNamespace(tx, sc, deleted.Targets.Namespace, registry.NewCall(noon))
	}); err != nil {
		t.Fatal(err)
	}
	for before, want := range map[string]string{"": ids[2] + " " + ids[0], ids[2]: ids[0], ids[0]: "", "no id": ""} {
		var got []string
		registry.ScanOperations(r.db.Snapshot(), sc, before,
			func(op *registry.Operation) bool { got = append(got, op.ID); return true })
		if strings.Join(got, " ") != want {
			t.Errorf("operations before %q: %v, want %q", before, got, want)
		}
	}
}
