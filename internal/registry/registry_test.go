package registry_test

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/control/publish"
	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
)

var (
	noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	sc   = arn.Scope{Account: "123456789012", Region: "eu-west-1"}
)

// reg is a registry that a test writes to, in one transaction per call.
type reg struct {
	t  *testing.T
	db *store.Store
}

func newReg(t *testing.T) *reg {
	t.Helper()
	return &reg{t, storetest.Open(t, registry.Schema()...)}
}

func do[R any](r *reg, fn func(*store.Tx) (R, error)) (R, error) {
	return store.Update(r.t.Context(), r.db, fn)
}

func (r *reg) createNamespace(spec registry.NamespaceSpec) (*registry.Operation, error) {
	return do(r, func(tx *store.Tx) (*registry.Operation, error) {
		return registry.CreateNamespace(tx, sc, spec, registry.NewCall(noon))
	})
}

func (r *reg) namespace(kind registry.Kind, name string) string {
	r.t.Helper()
	op, err := r.createNamespace(registry.NamespaceSpec{Kind: kind, Name: name, VPC: "vpc-1"})
	if err != nil || op.ErrorCode != "" {
		r.t.Fatalf("namespace %s: %v %+v", name, err, op)
	}
	return op.Targets.Namespace
}

// createService creates a service. Each word of what is a record type, weighted, custom, http or tcp.
func (r *reg) createService(ns, name, what string) (*registry.Service, error) {
	spec := registry.ServiceSpec{NamespaceID: ns, Name: name}
	for _, word := range strings.Fields(what) {
		switch word {
		case "weighted":
			spec.Policy = registry.Weighted
		case "custom":
			spec.CustomHealth = true
		case "http", "tcp":
			spec.HealthCheck = &registry.HealthCheck{Type: strings.ToUpper(word)}
		default:
			spec.HasDNS = true
			spec.Records = append(spec.Records, registry.Record{Type: registry.RecordType(word), TTL: 10})
		}
	}
	return do(r, func(tx *store.Tx) (*registry.Service, error) {
		return registry.CreateService(tx, sc, spec, registry.NewCall(noon))
	})
}

func (r *reg) service(ns, name, what string) string {
	r.t.Helper()
	svc, err := r.createService(ns, name, what)
	if err != nil {
		r.t.Fatalf("service %s: %v", name, err)
	}
	return svc.ID
}

func (r *reg) register(svc, id string, attributes map[string]string) (*registry.Operation, error) {
	return do(r, func(tx *store.Tx) (*registry.Operation, error) {
		return registry.RegisterInstance(tx, sc, registry.InstanceSpec{ServiceID: svc, ID: id, Attributes: attributes},
			registry.NewCall(noon))
	})
}

func (r *reg) deregister(svc, id string) {
	r.t.Helper()
	if _, err := do(r, func(tx *store.Tx) (*registry.Operation, error) {
		return registry.DeregisterInstance(tx, registry.InstanceRef{Scope: sc, ServiceID: svc, ID: id},
			registry.NewCall(noon))
	}); err != nil {
		r.t.Fatal(err)
	}
}

// verdict returns "ok", "invalid", or the code of a failed operation.
func verdict(op *registry.Operation, err error) string {
	switch {
	case fault.Is(err, fault.Invalid):
		return "invalid"
	case err != nil:
		return err.Error()
	case op.ErrorCode != "":
		return op.ErrorCode
	}
	return "ok"
}

// TestAttributes checks which attributes a registration needs and may have, by the records and health checks of the
// service.
func TestAttributes(t *testing.T) {
	r := newReg(t)
	kinds := map[string]string{
		"private": r.namespace(registry.Private, "shop.local"), "public": r.namespace(registry.Public, "shop.example"),
		"HTTP": r.namespace(registry.HTTP, "shop"),
	}
	services := map[string]string{}
	long := func(n int) string { return strings.Repeat("x", n) }
	custom := func(n int) (attributes string) {
		for i := range n {
			attributes += fmt.Sprintf(" k%d=v", i)
		}
		return attributes
	}
	for _, tc := range []struct{ service, attributes, want string }{ // IPV4 is AWS_INSTANCE_IPV4, and so on
		{"private A", "IPV4=10.0.0.1", "ok"},
		{"private A", "IPV4=10.0.0.1 IPV6=fd00::1 PORT=80", "ok"},
		{"private A", "", "invalid"},
		{"private A", "IPV6=fd00::1", "invalid"},
		{"private A", "IPV4=", "invalid"},
		{"private A", "IPV4=10.0.0.256", "invalid"},
		{"private A", "IPV4=10.0.0.01", "invalid"},
		{"private A", "IPV4=fd00::1", "invalid"},
		{"private A", "IPV4=::ffff:10.0.0.1", "invalid"},
		{"private A", "IPV4=10.0.0.1 IPV6=nonsense", "invalid"},
		{"private A", "IPV4=10.0.0.1 PORT=0", "invalid"},
		{"private A", "IPV4=10.0.0.1 PORT=65536", "invalid"},
		{"private A", "IPV4=10.0.0.1 PORT=80tcp", "invalid"},
		{"private A", "IPV4=10.0.0.1 PORT=+80", "invalid"},
		{"private AAAA", "IPV6=2001:0db8:0000:0000:0000:0000:0000:0001", "ok"},
		{"private AAAA", "IPV6=fe80::1%eth0", "invalid"},
		{"private AAAA", "IPV4=10.0.0.1", "invalid"},
		{"private A AAAA", "IPV4=10.0.0.1 IPV6=fd00::1", "ok"},
		{"private A AAAA", "IPV4=10.0.0.1", "invalid"},
		{"private SRV", "PORT=80 IPV4=10.0.0.1", "ok"},
		{"private SRV", "PORT=80 IPV6=fd00::1", "ok"},
		{"private SRV", "PORT=80", "invalid"},
		{"private SRV", "IPV4=10.0.0.1", "invalid"},
		{"private A SRV", "PORT=80 IPV4=10.0.0.1", "ok"},
		{"private A SRV", "PORT=80 IPV6=fd00::1", "invalid"},
		{"private CNAME weighted", "CNAME=www.example.com", "ok"},
		{"private CNAME weighted", "CNAME=www.example.com.", "ok"},
		{"private CNAME weighted", "CNAME=", "invalid"},
		{"private CNAME weighted", "CNAME=a..b", "invalid"},
		{"private CNAME weighted", `CNAME=a\.b`, "invalid"},
		{"private CNAME weighted", "CNAME=" + long(64), "invalid"},
		{"private CNAME weighted", "IPV4=10.0.0.1", "invalid"},
		{"private A", "ALIAS=lb.example.com", "invalid"},
		{"private A weighted", "ALIAS=lb.example.com", "ok"},
		{"private A weighted", "ALIAS=lb.example.com k=v", "ok"},
		{"private A AAAA weighted", "ALIAS=lb.example.com", "ok"},
		{"private A weighted", "ALIAS=lb.example.com IPV4=10.0.0.1", "invalid"},
		{"private A SRV weighted", "ALIAS=lb.example.com", "invalid"},
		{"private CNAME weighted", "ALIAS=lb.example.com", "invalid"},
		{"private A weighted", "ALIAS=..", "invalid"},
		{"private A weighted", "ALIAS=lb.example.com EC2=i-1", "invalid"},
		{"private ", "", "ok"},
		{"private ", "IPV4=10.0.0.1 k=v", "ok"},
		{"private ", "EC2=i-1", "invalid"},
		{"HTTP ", "EC2=i-1", "ok"},
		{"HTTP custom", "EC2=i-1 INIT=HEALTHY", "ok"},
		{"HTTP ", "EC2=i-1 IPV4=10.0.0.1", "invalid"},
		{"HTTP ", "k=v AWS_UNKNOWN=x", "ok"},
		{"HTTP ", "INIT=HEALTHY", "ok"},
		{"HTTP custom", "INIT=UNHEALTHY", "ok"},
		{"HTTP custom", "INIT=FINE", "invalid"},
		{"HTTP http", "IPV4=10.0.0.1 PORT=80", "ok"},
		{"HTTP tcp", "IPV6=fd00::1 PORT=80", "ok"},
		{"HTTP http", "IPV4=10.0.0.1", "invalid"},
		{"HTTP http", "PORT=80", "invalid"},
		{"public A http", "IPV4=10.0.0.1", "invalid"},
		{"public A http", "IPV4=10.0.0.1 PORT=80", "ok"},
		{"HTTP ", custom(30), "ok"},
		{"HTTP ", custom(30) + " IPV4=10.0.0.1 AWS_OWN=x", "ok"},
		{"HTTP ", custom(31), "invalid"},
		{"HTTP ", "a=" + long(1024) + " b=" + long(1024) + " c=" + long(1024) + " d=" + long(1024) + " e=" + long(899), "ok"},
		{"HTTP ", "a=" + long(1024) + " b=" + long(1024) + " c=" + long(1024) + " d=" + long(1024) + " e=" + long(900),
			"invalid"},
	} {
		svc, ok := services[tc.service]
		if !ok {
			kind, what, _ := strings.Cut(tc.service, " ")
			svc = r.service(kinds[kind], fmt.Sprintf("s%d", len(services)), what)
			services[tc.service] = svc
		}
		op, err := r.register(svc, "i", parse(tc.attributes))
		if got := verdict(op, err); got != tc.want {
			t.Errorf("%s: %.60s: %s (%v), want %s", tc.service, tc.attributes, got, err, tc.want)
		}
	}
}

// parse returns attributes that are written as "KEY=VALUE ...", with the short keys of TestAttributes.
func parse(attributes string) map[string]string {
	names := map[string]string{
		"IPV4": registry.AttrIPv4, "IPV6": registry.AttrIPv6, "PORT": registry.AttrPort, "CNAME": registry.AttrCNAME,
		"ALIAS": registry.AttrAlias, "EC2": registry.AttrEC2, "INIT": registry.AttrInitHealth,
	}
	m := map[string]string{}
	for _, f := range strings.Fields(attributes) {
		k, v, _ := strings.Cut(f, "=")
		if name, ok := names[k]; ok {
			k = name
		}
		m[k] = v
	}
	return m
}

// TestNames checks that all names in a zone are different. Each case runs in a new namespace: "s NAME TYPES" creates a
// service, "i SERVICE ID" registers an instance, and "x SERVICE ID" deregisters it. want is the result of the last
// step.
func TestNames(t *testing.T) {
	r := newReg(t)
	address := map[string]string{registry.AttrIPv4: "10.0.0.1", registry.AttrPort: "80"}
	label := strings.Repeat("l", 63)
	for i, tc := range []struct{ script, want string }{
		{"s b SRV; i b a", "ok"},
		{"s b SRV; i b a.c", "ok"},
		{"s b SRV; i b a:c@d_e", "ok"},
		{"s b SRV; i b " + label, "ok"},
		{"s b SRV; i b l" + label, "INVALID_CHANGE_BATCH"},
		{"s b A; i b l" + label, "ok"}, // without SRV records, an id is not part of a name
		{"s b SRV; i b a..c", "INVALID_CHANGE_BATCH"},
		{"s b SRV; i b .a", "INVALID_CHANGE_BATCH"},
		{"s b SRV; i b a.", "INVALID_CHANGE_BATCH"},
		{"s b A; i b a..c", "ok"},

		{"s b SRV; s a.b A; i b a", "INVALID_CHANGE_BATCH"},
		{"s b SRV; s A.b A; i b a", "INVALID_CHANGE_BATCH"},
		{"s b SRV; s a.b A; i b A", "INVALID_CHANGE_BATCH"},
		{"s b SRV; s a.b; i b a", "ok"}, // a.b has no records
		{"s b A; s a.b A; i b a", "ok"}, // without SRV records, instances have no names
		{"s b SRV; i b a; s a.b A", "invalid"},
		{"s b SRV; i b A; s a.b A", "invalid"},
		{"s B SRV; i b a; s a.b SRV", "invalid"},
		{"s b SRV; i b a; s a.b", "ok"},
		{"s b SRV; i b a; x b a; s a.b A", "ok"},
		{"s b SRV; i b A; x b A; s a.b A", "ok"},
		{"s c SRV; i c a.b; s a.b.c A", "invalid"},
		{"s c SRV; i c a.b; s b.c A", "ok"}, // b.c is only the parent of a.b.c
		{"s c SRV; s b.c SRV; i c a.b; i b.c a", "INVALID_CHANGE_BATCH"},
		{"s c SRV; s b.c SRV; i b.c a; i c a.b", "INVALID_CHANGE_BATCH"},
		{"s . SRV; i . a", "ok"},
		{"s . SRV; s a A; i . a", "INVALID_CHANGE_BATCH"},
		{"s . SRV; i . a; s a A", "invalid"},
		{"s . SRV; i . a.b; s b SRV; i b a", "INVALID_CHANGE_BATCH"},
		{"s . CNAME weighted", "invalid"},

		{"s b SRV; i b a; i b a", "ok"}, // an update
		{"s b SRV; i b A; i b A", "ok"},
		{"s b SRV; i b a; i b A", "INVALID_CHANGE_BATCH"},
		{"s b SRV; i b A; i b a", "INVALID_CHANGE_BATCH"},
		{"s b SRV; i b Aa; i b aA", "INVALID_CHANGE_BATCH"},
		{"s b SRV; i b A; x b A; i b a", "ok"},
		{"s b SRV; i b A/B; i b a/b", "INVALID_CHANGE_BATCH"},
		{"s b A; i b a; i b A", "ok"},
		{"s b; i b a; i b A", "ok"},
	} {
		zone := fmt.Sprintf("n%d.local", i)
		ns := r.namespace(registry.Private, zone)
		ids := map[string]string{}
		var last string
		for step := range strings.SplitSeq(tc.script, "; ") {
			words := strings.SplitN(step, " ", 3)
			name := strings.ToLower(words[1])
			switch words[0] {
			case "s":
				what := ""
				if len(words) == 3 {
					what = words[2]
				}
				svc, err := r.createService(ns, words[1], what)
				if last = verdict(&registry.Operation{}, err); err == nil {
					ids[name] = svc.ID
				}
			case "i":
				last = verdict(r.register(ids[name], words[2], address))
			case "x":
				r.deregister(ids[name], words[2])
			}
		}
		if last != tc.want {
			t.Errorf("%s: %s, want %s", tc.script, last, tc.want)
		}
	}
}

// TestLongestNames checks that a name has up to 253 characters, without the dot at the end of the name of its zone.
func TestLongestNames(t *testing.T) {
	r := newReg(t)
	zone := func(length int) string { return strings.Repeat("abcdefg.", 32)[261-length:] + "local" }
	for i, tc := range []struct{ zone, service, want string }{
		{zone(253), ".", "ok"},
		{zone(253) + ".", ".", "ok"},
		{zone(251), "a", "ok"},
		{zone(251) + ".", "a", "ok"},
		{zone(252), "a", "INVALID_CHANGE_BATCH"},
		{zone(253), "a", "INVALID_CHANGE_BATCH"},
	} {
		op, err := r.createNamespace(registry.NamespaceSpec{Kind: registry.Private, Name: tc.zone,
			VPC: fmt.Sprint("vpc-", i)})
		if got := verdict(op, err); got != "ok" {
			t.Fatalf("a zone of %d characters: %s", len(tc.zone), got)
		}
		svc := r.service(op.Targets.Namespace, tc.service, "A")
		if got := verdict(r.register(svc, "i", map[string]string{registry.AttrIPv4: "10.0.0.1"})); got != tc.want {
			t.Errorf("service %s in a zone of %d characters: %s, want %s", tc.service, len(tc.zone), got, tc.want)
		}
	}
}

// TestNamespaceNames checks which names are equal and which are invalid.
func TestNamespaceNames(t *testing.T) {
	r := newReg(t)
	long := strings.Repeat("abcdefg.", 31) + "local" // 253 characters, the most that fits
	for _, tc := range []struct {
		kind            registry.Kind
		vpc, name, want string
	}{
		{registry.HTTP, "", "shop", "ok"},
		{registry.HTTP, "", "shop", "exists"},
		{registry.HTTP, "", "Shop", "ok"},
		{registry.HTTP, "", strings.Repeat("x", 1024), "ok"},
		{registry.Private, "vpc-1", "shop", "ok"},
		{registry.Private, "vpc-1", "shop.", "exists"},
		{registry.Private, "vpc-1", "SHOP", "exists"},
		{registry.Private, "vpc-2", "shop", "ok"},
		{registry.Private, "vpc-1", "cart.shop", "ok"},
		{registry.Private, "vpc-1", long, "ok"},
		{registry.Private, "vpc-1", strings.Repeat("x", 64) + ".local", "CANNOT_CREATE_HOSTED_ZONE"},
		{registry.Private, "vpc-1", "a..b", "CANNOT_CREATE_HOSTED_ZONE"},
		{registry.Private, "vpc-1", ".", "CANNOT_CREATE_HOSTED_ZONE"},
		{registry.Private, "vpc-1", "x" + long, "CANNOT_CREATE_HOSTED_ZONE"},
		{registry.Private, "vpc-1", `a\.local`, "CANNOT_CREATE_HOSTED_ZONE"},
		{registry.Private, "a/b", "c", "ok"},
		{registry.Private, "a", "b/c", "ok"},
		{registry.Public, "", "shop.example", "ok"},
		{registry.Public, "", "SHOP.example", "exists"},
		{registry.Private, "vpc-1", "shop.example", "ok"},
	} {
		op, err := r.createNamespace(registry.NamespaceSpec{Kind: tc.kind, Name: tc.name, VPC: tc.vpc})
		got := verdict(op, err)
		if fault.Is(err, fault.Exists) {
			got = "exists"
		}
		if got != tc.want {
			t.Errorf("%s %s %s: %s, want %s", tc.kind, tc.vpc, tc.name, got, tc.want)
		}
	}
	seen := map[string]string{}
	registry.ScanNamespaces(r.db.Snapshot(), sc, "", func(ns *registry.Namespace) bool {
		if other, twice := seen[ns.HTTPName]; twice {
			t.Errorf("%s and %s both have the HttpName %s", ns.ID, other, ns.HTTPName)
		}
		seen[ns.HTTPName] = ns.ID
		return true
	})
}

// TestRegisterOrDelete checks that only one of two concurrent calls succeeds: a registration and the deletion of its
// service, or the creation of a service and the deletion of its namespace. The directory then agrees with the rows.
func TestRegisterOrDelete(t *testing.T) {
	r := newReg(t)
	dir := directory.New()
	publish.Follow(r.db, dir, func(string, string) (in, except []netip.Prefix) { return nil, nil })
	ns := r.namespace(registry.Private, "shop.local")
	for round := range 30 {
		svc := r.service(ns, fmt.Sprintf("s%d", round), "A")
		passing := r.namespace(registry.HTTP, fmt.Sprintf("n%d", round))
		var wg sync.WaitGroup
		var registered, deleted, created, removed error
		wg.Go(func() { _, registered = r.register(svc, "i", map[string]string{registry.AttrIPv4: "10.0.0.1"}) })
		wg.Go(func() {
			_, deleted = do(r, func(tx *store.Tx) (struct{}, error) { return struct{}{}, registry.DeleteService(tx, sc, svc) })
		})
		wg.Go(func() { _, created = r.createService(passing, "cart", "") })
		wg.Go(func() {
			_, removed = do(r, func(tx *store.Tx) (*registry.Operation, error) {
				return registry.DeleteNamespace(tx, sc, passing, registry.NewCall(noon))
			})
		})
		wg.Wait()
		switch {
		case registered == nil && fault.Is(deleted, fault.InUse):
		case deleted == nil && fault.Is(registered, fault.NotFound):
		default:
			t.Fatalf("register: %v; delete: %v", registered, deleted)
		}
		switch {
		case created == nil && fault.Is(removed, fault.InUse):
		case removed == nil && fault.Is(created, fault.NotFound):
		default:
			t.Fatalf("create a service: %v; delete its namespace: %v", created, removed)
		}
		_, v := dir.Discover(sc.Region, "shop.local", fmt.Sprintf("s%d", round))
		if listed := v != nil && v.In(directory.Healthy).Len() == 1; listed != (registered == nil) {
			t.Fatalf("register: %v; the directory lists the instance: %t", registered, listed)
		}
		if n := registry.InstanceCount(r.db.Snapshot(), sc, svc); (n == 1) != (registered == nil) {
			t.Fatalf("register: %v; the service has %d instances", registered, n)
		}
		if n := registry.ServiceCount(r.db.Snapshot(), sc, passing); (n == 1) != (created == nil) {
			t.Fatalf("create a service: %v; the namespace has %d services", created, n)
		}
	}
}

// TestConcurrentCreation checks that only one of several concurrent calls creates a service with a name.
func TestConcurrentCreation(t *testing.T) {
	r := newReg(t)
	ns := r.namespace(registry.Private, "shop.local")
	var wg sync.WaitGroup
	results := make([]error, 8)
	for i := range results {
		wg.Go(func() { _, results[i] = r.createService(ns, "cart", "A SRV") })
	}
	wg.Wait()
	created := 0
	for _, err := range results {
		if err == nil {
			created++
		} else if !fault.Is(err, fault.Exists) {
			t.Error(err)
		}
	}
	if created != 1 {
		t.Errorf("%d calls created the service, want 1", created)
	}
}

// TestReapOperations checks that operations older than the retention are deleted, oldest first, up to the limit.
func TestReapOperations(t *testing.T) {
	r := newReg(t)
	var ids []string
	for i := range 5 {
		op, err := do(r, func(tx *store.Tx) (*registry.Operation, error) {
			spec := registry.NamespaceSpec{Kind: registry.HTTP, Name: fmt.Sprint("n", i)}
			return registry.CreateNamespace(tx, sc, spec, registry.NewCall(noon.Add(time.Duration(i)*time.Hour)))
		})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, op.ID)
	}
	reap := func(now time.Time, limit int) bool {
		more, err := do(r, func(tx *store.Tx) (bool, error) {
			return registry.ReapOperations(tx, sc.Region, now, limit), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return more
	}
	left := func() (left string) {
		for i, id := range ids {
			if _, err := registry.GetOperation(r.db.Snapshot(), sc, id); err == nil {
				left += fmt.Sprint(i)
			}
		}
		return left
	}
	later := noon.Add(registry.OperationRetention + 2*time.Hour + time.Minute) // the first three are too old
	if more := reap(later, 2); !more || left() != "234" {
		t.Errorf("two of three operations reaped: more %t, left %s", more, left())
	}
	if more := reap(later, 2); more || left() != "34" {
		t.Errorf("third operation reaped: more %t, left %s", more, left())
	}
}
