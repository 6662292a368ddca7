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

// TestCall checks that one call writes the same ids in every run, and different calls write different ids.
func TestCall(t *testing.T) {
	spec := registry.NamespaceSpec{Kind: registry.Private, Name: "shop.local", VPC: "vpc-1"}
	create := func(call registry.Call) *registry.Operation {
		r := newReg(t) // a run of the transaction function on a state without the rows of another run
		op, err := do(r, func(tx *store.Tx) (*registry.Operation, error) {
			return registry.CreateNamespace(tx, sc, spec, call)
		})
		if err != nil {
			t.Fatal(err)
		}
		return op
	}
	one, two := registry.NewCall(noon), registry.NewCall(noon)
	a, b, c := create(one), create(one), create(two)
	if a.ID != b.ID || a.Targets != b.Targets {
		t.Errorf("two runs of one call wrote %v and %v", a, b)
	}
	if a.ID == c.ID || a.Targets == c.Targets {
		t.Errorf("two calls both wrote %v", a)
	}
	if !strings.HasPrefix(a.Targets.Namespace, "ns-") || len(a.Targets.Namespace) != 19 {
		t.Errorf("namespace id %s, want ns- and 16 characters", a.Targets.Namespace)
	}
}

// TestOneCallManyInstances checks that the operations of one call have different ids.
func TestOneCallManyInstances(t *testing.T) {
	r := newReg(t)
	svc := r.service(r.namespace(registry.Private, "shop.local"), "cart", "A")
	call, ids := registry.NewCall(noon), map[string]bool{}
	_, err := do(r, func(tx *store.Tx) (struct{}, error) {
		for i := range 3 {
			spec := registry.InstanceSpec{ServiceID: svc, ID: fmt.Sprint(i), Attributes: parse("IPV4=10.0.0.1")}
			op, err := registry.RegisterInstance(tx, sc, spec, call)
			if err != nil {
				return struct{}{}, err
			}
			ids[op.ID] = true
		}
		return struct{}{}, nil
	})
	if err != nil || len(ids) != 3 {
		t.Errorf("%d operations, want 3 (%v)", len(ids), err)
	}
}

// TestHealth runs scripts on an instance: "custom" and "task" set a status (h, u), "drain" drains it. A service is
// custom or plain. want reports whether service discovery answers with the instance.
func TestHealth(t *testing.T) {
	for _, tc := range []struct {
		service, script string
		want            bool
	}{
		{"custom", "", true},
		{"custom", "custom u", false},
		{"custom", "custom u; custom h", true},
		{"custom", "task u", false},
		{"custom", "task u; custom h", true},
		{"custom", "task u; custom h; task u", true}, // ECS has reported no other status since
		{"custom", "task u; custom h; task h; task u", false},
		{"", "task u", false},
		{"", "task u; task h", true},
		{"", "drain", false},
		{"custom", "drain; custom h", false},
		{"", "deregister", false},
	} {
		r := newReg(t)
		ref := registry.InstanceRef{Scope: sc, ID: "i"}
		ref.ServiceID = r.service(r.namespace(registry.Private, "shop.local"), "cart", "A "+tc.service)
		if _, err := r.register(ref.ServiceID, "i", parse("IPV4=10.0.0.1")); err != nil {
			t.Fatal(err)
		}
		for step := range strings.SplitSeq(tc.script, "; ") {
			verb, status, _ := strings.Cut(step, " ")
			health := map[string]registry.Health{"h": registry.Healthy, "u": registry.Unhealthy}[status]
			_, err := do(r, func(tx *store.Tx) (struct{}, error) {
				switch verb {
				case "custom":
					return struct{}{}, registry.SetCustomHealth(tx, ref, health, noon)
				case "task":
					return struct{}{}, registry.SetTaskHealth(tx, ref, health, noon)
				case "drain":
					return struct{}{}, registry.SetDraining(tx, ref, noon)
				case "deregister":
					_, err := registry.DeregisterInstance(tx, ref, registry.NewCall(noon))
					return struct{}{}, err
				}
				return struct{}{}, nil
			})
			if err != nil {
				t.Fatalf("%s: %v", step, err)
			}
		}
		if got := registry.IsAnswered(r.db.Snapshot(), ref); got != tc.want {
			t.Errorf("service %q, %q: answered %v, want %v", tc.service, tc.script, got, tc.want)
		}
	}
}

// TestCreatorTokens checks repeated CreateNamespace requests with a creator token.
func TestCreatorTokens(t *testing.T) {
	for _, tc := range []struct {
		name, second string
		after        time.Duration
		want         string
	}{
		{"repeat", "shop", time.Hour, "same operation"},
		{"another request with the token", "cart", time.Hour, "duplicate"},
		{"another request after the token has expired", "cart", 24 * time.Hour, "new operation"},
		{"repeat after the token has expired", "shop", 24 * time.Hour, "exists"},
	} {
		r := newReg(t)
		create := func(name string, now time.Time) (*registry.Operation, error) {
			spec := registry.NamespaceSpec{Kind: registry.HTTP, Name: name, Creator: "token"}
			return do(r, func(tx *store.Tx) (*registry.Operation, error) {
				return registry.CreateNamespace(tx, sc, spec, registry.NewCall(now))
			})
		}
		first, err := create("shop", noon)
		if err != nil {
			t.Fatal(err)
		}
		second, err := create(tc.second, noon.Add(tc.after))
		got := "new operation"
		switch {
		case fault.Is(err, fault.Duplicate):
			got = "duplicate"
		case fault.Is(err, fault.Exists):
			got = "exists"
		case err != nil:
			got = err.Error()
		case second.ID == first.ID:
			got = "same operation"
		}
		if got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

// TestExpire checks that an instance with an expired lease stays if it was renewed or registered again.
func TestExpire(t *testing.T) {
	for _, tc := range []struct {
		name string
		then func(r *reg, ref registry.InstanceRef)
		want bool
	}{
		{"not renewed", func(*reg, registry.InstanceRef) {}, false},
		{"renewed", func(r *reg, ref registry.InstanceRef) {
			_, _ = do(r, func(tx *store.Tx) (struct{}, error) {
				return struct{}{}, registry.SetCustomHealth(tx, ref, registry.Healthy, noon.Add(time.Minute))
			})
		}, true},
		{"registered again", func(r *reg, ref registry.InstanceRef) {
			_, _ = r.register(ref.ServiceID, ref.ID, parse("IPV4=10.0.0.2 ROLLCALL_LEASE_SECONDS=30"))
		}, true},
	} {
		r := newReg(t)
		ref := registry.InstanceRef{Scope: sc, ID: "i"}
		ref.ServiceID = r.service(r.namespace(registry.Private, "shop.local"), "cart", "A custom")
		if _, err := r.register(ref.ServiceID, "i", parse("IPV4=10.0.0.1 ROLLCALL_LEASE_SECONDS=30")); err != nil {
			t.Fatal(err)
		}
		seen, err := registry.GetInstance(r.db.Snapshot(), ref)
		if err != nil || seen.Lease() != 30*time.Second {
			t.Fatalf("lease %v, %v", seen.Lease(), err)
		}
		tc.then(r, ref)
		if _, err := do(r, func(tx *store.Tx) (struct{}, error) {
			return struct{}{}, registry.Expire(tx, seen, registry.NewCall(noon.Add(time.Hour)))
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := registry.GetInstance(r.db.Snapshot(), ref); (err == nil) != tc.want {
			t.Errorf("%s: registered %v, want %v", tc.name, err == nil, tc.want)
		}
	}
}

// TestTags checks the tags of namespaces and services.
func TestTags(t *testing.T) {
	r := newReg(t)
	ns := r.namespace(registry.Private, "shop.local")
	svc := r.service(ns, "cart", "A")
	for _, res := range []registry.Resource{{Namespace: true, ID: ns}, {ID: svc}} {
		put := func(n int) error {
			tags := map[string]string{}
			for i := range n {
				tags[fmt.Sprint("k", i)] = "v"
			}
			_, err := do(r, func(tx *store.Tx) (struct{}, error) { return struct{}{}, registry.PutTags(tx, sc, res, tags) })
			return err
		}
		if err := put(registry.MaxTags + 1); !fault.Is(err, fault.Limit) {
			t.Errorf("too many tags: %v", err)
		}
		if err := put(2); err != nil {
			t.Error(err)
		}
		if _, err := do(r, func(tx *store.Tx) (struct{}, error) {
			return struct{}{}, registry.DeleteTags(tx, sc, res, []string{"k0", "unknown"})
		}); err != nil {
			t.Error(err)
		}
		if tags, err := registry.Tags(r.db.Snapshot(), sc, res); fmt.Sprint(tags) != "map[k1:v]" || err != nil {
			t.Errorf("tags %v, %v", tags, err)
		}
	}
	if _, err := registry.Tags(r.db.Snapshot(), sc, registry.Resource{ID: ns}); !fault.Is(err, fault.NotFound) {
		t.Errorf("tags of a service with the id of a namespace: %v", err)
	}
}
