package cloudmap_test

import (
	"fmt"
	"strings"
	"testing"

	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
)

// TestDiscover registers healthy (h), unhealthy (u), unready (r) and draining (d) instances. Unhealthy instances have
// been healthy before, unready ones have not. Instances with even numbers are blue, with odd numbers red. Instances
// from number 3 are in zone b, the others in zone a.
func TestDiscover(t *testing.T) {
	w := newWorld(t)
	ns := w.privateNamespace("shop.local", "vpc-1")
	sc := arn.Scope{Account: apitest.Account, Region: apitest.Region}
	services := map[string]string{}
	fill := func(config, instances string) string {
		name := fmt.Sprintf("s%d", len(services))
		if known, ok := services[config+"|"+instances]; ok {
			return known
		}
		services[config+"|"+instances] = name
		svc := w.service(ns, name, config)
		for _, id := range strings.Fields(instances) {
			attributes := "color=red zone=a"
			if (id[1]-'0')%2 == 0 {
				attributes = "color=blue zone=a"
			}
			if id[1] >= '3' {
				attributes = strings.Replace(attributes, "zone=a", "zone=b", 1)
			}
			_, err := store.Update(t.Context(), w.db, func(tx *store.Tx) (struct{}, error) {
				spec := registry.InstanceSpec{ServiceID: svc, ID: id, Attributes: parse(attributes),
					Unready: id[0] == 'r'}
				if _, err := registry.RegisterInstance(tx, sc, spec, registry.NewCall(apitest.Epoch)); err != nil {
					return struct{}{}, err
				}
				ref := registry.InstanceRef{Scope: sc, ServiceID: svc, ID: id}
				switch id[0] {
				case 'u':
					return struct{}{}, registry.SetTaskHealth(tx, ref, registry.Unhealthy, apitest.Epoch)
				case 'd':
					return struct{}{}, registry.SetDraining(tx, ref, apitest.Epoch)
				}
				return struct{}{}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		return name
	}
	for _, tc := range []struct {
		config, instances string
		health            types.HealthStatusFilter
		query, optional   string
		want              string
	}{
		{"custom", "h1 h2 u1 u2 r1 d1", "", "", "", "h1 h2"},
		{"custom", "h1 h2 u1 u2 r1 d1", "HEALTHY", "", "", "h1 h2"},
		{"custom", "h1 h2 u1 u2 r1 d1", "UNHEALTHY", "", "", "r1 u1 u2"},
		{"custom", "h1 h2 u1 u2 r1 d1", "ALL", "", "", "h1 h2 r1 u1 u2"},
		{"custom", "h1 h2 u1 u2 r1 d1", "HEALTHY_OR_ELSE_ALL", "", "", "h1 h2"},
		{"custom", "u1 u2 r1 d1", "HEALTHY", "", "", ""},
		{"custom", "u1 u2 r1 d1", "HEALTHY_OR_ELSE_ALL", "", "", "u1 u2"},
		{"custom", "r1 d1", "HEALTHY_OR_ELSE_ALL", "", "", ""},
		{"custom", "", "ALL", "", "", ""},

		{"custom", "h1 h2 h3 h4 u1 u2 u3", "", "color=red", "", "h1 h3"},
		{"custom", "h1 h2 h3 h4 u1 u2 u3", "ALL", "color=red zone=b", "", "h3 u3"},
		{"custom", "h1 h2 h3 h4 u1 u2 u3", "", "color=Red", "", ""},
		{"custom", "h1 h2 h3 h4 u1 u2 u3", "", "size=", "", ""},
		{"custom", "h1 h2 h3 h4 u1 u2 u3", "", "", "zone=b", "h3 h4"},
		{"custom", "h1 h2 h3 h4 u1 u2 u3", "", "", "zone=c", "h1 h2 h3 h4"},
		{"custom", "h1 h2 h3 h4 u1 u2 u3", "", "color=red", "zone=b", "h3"},
		{"custom", "h2 u1 u3", "HEALTHY_OR_ELSE_ALL", "color=red", "", "u1 u3"}, // none of the red instances is healthy
		// health is more important than optional parameters
		{"custom", "h1 u3", "HEALTHY_OR_ELSE_ALL", "", "zone=b", "h1"},
		{"custom", "u1 u3", "HEALTHY_OR_ELSE_ALL", "color=red", "zone=b", "u3"},

		{"", "h1 h2 u1 r1 d1", "", "", "", "h1 h2 u1"},
		{"", "h1 h2 u1 r1 d1", "HEALTHY", "", "", "h1 h2 u1"},
		{"", "h1 h2 u1 r1 d1", "UNHEALTHY", "", "", "h1 h2 u1"},
		{"", "h1 h2 u1 r1 d1", "", "color=blue", "", "h2"},
	} {
		name := fill(tc.config, tc.instances)
		in := &sd.DiscoverInstancesInput{NamespaceName: s("shop.local"), ServiceName: &name, HealthStatus: tc.health,
			QueryParameters: parse(tc.query), OptionalParameters: parse(tc.optional)}
		if got := w.discovered(in); got != tc.want {
			t.Errorf("of %q (%s), %s %s %s: %q, want %q", tc.instances, tc.config, tc.health, tc.query, tc.optional,
				got, tc.want)
		}
		out := apitest.Must(w.DiscoverInstances(t.Context(), in))(t)
		for _, i := range out.Instances {
			want := map[byte]types.HealthStatus{'h': "HEALTHY", 'u': "UNHEALTHY", 'r': "UNHEALTHY"}[(*i.InstanceId)[0]]
			if tc.config == "" {
				want = "UNKNOWN"
			}
			if i.HealthStatus != want {
				t.Errorf("%s is %s, want %s", *i.InstanceId, i.HealthStatus, want)
			}
		}
	}
}

// TestDiscoverMaxResults checks that at most MaxResults instances are returned, by default 100, and that repeated calls
// return all instances.
func TestDiscoverMaxResults(t *testing.T) {
	w := newWorld(t)
	svc := w.service(w.httpNamespace("shop"), "cart", "")
	sc := arn.Scope{Account: apitest.Account, Region: apitest.Region}
	_, err := store.Update(t.Context(), w.db, func(tx *store.Tx) (struct{}, error) {
		for i := range 150 {
			spec := registry.InstanceSpec{ServiceID: svc, ID: fmt.Sprintf("i%d", i),
				Attributes: map[string]string{"k": "v"}}
			if _, err := registry.RegisterInstance(tx, sc, spec, registry.NewCall(apitest.Epoch)); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		max   *int32
		query string
		want  int
	}{
		{nil, "", 100}, {n(1), "", 1}, {n(7), "", 7}, {n(149), "", 149}, {n(150), "", 150}, {n(1000), "", 150},
		{nil, "k=v", 100}, {n(7), "k=v", 7}, {n(1000), "k=v", 150},
	} {
		seen := map[string]bool{}
		tries := 0
		for ; len(seen) < 150 && tries < 10_000; tries++ {
			out := apitest.Must(w.DiscoverInstances(t.Context(), &sd.DiscoverInstancesInput{
				NamespaceName: s("shop"), ServiceName: s("cart"),
				MaxResults: tc.max, QueryParameters: parse(tc.query)}))(t)
			answer := map[string]bool{}
			for _, i := range out.Instances {
				answer[*i.InstanceId], seen[*i.InstanceId] = true, true
			}
			if len(answer) != tc.want || len(out.Instances) != tc.want {
				t.Fatalf("MaxResults %v: %d different instances of %d, want %d", tc.max, len(answer),
					len(out.Instances), tc.want)
			}
		}
		if len(seen) < 150 {
			t.Errorf("MaxResults %v: only %d of 150 instances were ever answered", tc.max, len(seen))
		}
	}
}

// TestDiscoverNames checks that a namespace is found by its HttpName, ignoring case if it is a DNS name, or by a Name
// that no other namespace has.
func TestDiscoverNames(t *testing.T) {
	w := newWorld(t)
	first := w.privateNamespace("Shop.local", "vpc-1")
	second := w.privateNamespace("shop.LOCAL", "vpc-1x")
	third := w.privateNamespace("shop.LOCAL", "vpc-2")
	plain := w.httpNamespace("Plain")
	for ns, svc := range map[string]string{first: "First", second: "Second", third: "Third", plain: "Fourth"} {
		w.service(ns, svc, "")
	}
	httpName := func(id string) string {
		ns := apitest.Must(w.GetNamespace(t.Context(), &sd.GetNamespaceInput{Id: &id}))(t).Namespace
		return *ns.Properties.HttpProperties.HttpName
	}
	suffixed := httpName(third)
	if !strings.HasPrefix(suffixed, "shop.LOCAL-") || len(suffixed) != len("shop.LOCAL-")+8 {
		t.Fatalf("the HttpName of a second namespace with the same name is %q", suffixed)
	}
	discover := func(ns, svc string) string {
		_, err := w.DiscoverInstances(t.Context(), &sd.DiscoverInstancesInput{NamespaceName: &ns, ServiceName: &svc})
		return apitest.ErrorCode(err)
	}
	for _, tc := range []struct{ ns, svc, want string }{
		{"Shop.local", "first", ""},
		{"shop.LOCAL", "second", ""},
		{suffixed, "THIRD", ""},
		{"shop.local", "first", "NamespaceNotFound"}, // three namespaces have this name
		{"Plain", "Fourth", ""},
		{"plain", "Fourth", "NamespaceNotFound"},
		{"Plain", "fourth", "ServiceNotFound"},
	} {
		if got := discover(tc.ns, tc.svc); got != tc.want {
			t.Errorf("%s/%s: %q, want %q", tc.ns, tc.svc, got, tc.want)
		}
	}
	for _, id := range []string{first, second} {
		services := apitest.Must(w.ListServices(t.Context(), &sd.ListServicesInput{
			Filters: []types.ServiceFilter{{Name: "NAMESPACE_ID", Values: []string{id}}}}))(t)
		apitest.Must(w.DeleteService(t.Context(), &sd.DeleteServiceInput{Id: services.Services[0].Id}))(t)
		apitest.Must(w.DeleteNamespace(t.Context(), &sd.DeleteNamespaceInput{Id: &id}))(t)
	}
	if got := discover("Shop.Local", "third"); got != "" {
		t.Errorf("by the Name of the remaining namespace: %s", got)
	}
	if got := httpName(w.privateNamespace("shop.LOCAL", "vpc-3")); got != "shop.LOCAL" {
		t.Errorf("the HttpName is free again, but the new namespace has %q", got)
	}
	if _, err := w.client(apitest.InRegion("us-east-1")).DiscoverInstances(t.Context(),
		&sd.DiscoverInstancesInput{NamespaceName: s("Plain"),
			ServiceName: s("Fourth")}); apitest.ErrorCode(err) != "NamespaceNotFound" {
		t.Errorf("from another region: %v", err)
	}
}

// TestRevision checks that registrations and deregistrations increase the revision, that changes of health do not, and
// that it never decreases.
func TestRevision(t *testing.T) {
	w := newWorld(t)
	ns := w.httpNamespace("shop")
	svc := w.service(ns, "cart", "custom")
	last := int64(0)
	revision := func() int64 {
		t.Helper()
		in := &sd.DiscoverInstancesRevisionInput{NamespaceName: s("shop"), ServiceName: s("cart")}
		rev := *apitest.Must(w.DiscoverInstancesRevision(t.Context(), in))(t).InstancesRevision
		both := *apitest.Must(w.DiscoverInstances(t.Context(), &sd.DiscoverInstancesInput{
			NamespaceName: s("shop"), ServiceName: s("cart"), HealthStatus: "ALL"}))(t).InstancesRevision
		if rev != both {
			t.Errorf("revision %d, but DiscoverInstances returns %d", rev, both)
		}
		return rev
	}
	for _, step := range []struct {
		name  string
		do    func()
		grows bool
	}{
		{"create", func() {}, true},
		{"register", func() { w.register(svc, "a", "") }, true},
		{"register another", func() { w.register(svc, "b", "") }, true},
		{"register again", func() { w.register(svc, "a", "x=y") }, true},
		{"health", func() {
			apitest.Must(w.UpdateInstanceCustomHealthStatus(t.Context(),
				&sd.UpdateInstanceCustomHealthStatusInput{ServiceId: &svc, InstanceId: s("a"), Status: "UNHEALTHY"}))(t)
		}, false},
		{"description", func() {
			apitest.Must(w.UpdateService(t.Context(), &sd.UpdateServiceInput{Id: &svc,
				Service: &types.ServiceChange{Description: s("x")}}))(t)
		}, false},
		{"deregister", func() { w.deregister(svc, "a") }, true},
		{"deregister the last", func() { w.deregister(svc, "b") }, true},
		{"delete and create", func() {
			apitest.Must(w.DeleteService(t.Context(), &sd.DeleteServiceInput{Id: &svc}))(t)
			svc = w.service(ns, "cart", "custom")
		}, true},
	} {
		step.do()
		rev := revision()
		if grows := rev > last; grows != step.grows || rev < last {
			t.Errorf("%s: revision %d after %d", step.name, rev, last)
		}
		last = rev
	}
}

// TestCustomHealth checks that DiscoverInstances and GetInstancesHealthStatus show a new status immediately.
func TestCustomHealth(t *testing.T) {
	w := newWorld(t)
	ns := w.httpNamespace("shop")
	svc, plain := w.service(ns, "cart", "custom"), w.service(ns, "plain", "")
	w.register(svc, "a", "")
	w.register(svc, "b", "INIT=UNHEALTHY")
	w.register(plain, "c", "")
	status := func(service string, ids ...string) string {
		out := apitest.Must(w.GetInstancesHealthStatus(t.Context(), &sd.GetInstancesHealthStatusInput{
			ServiceId: &service, Instances: ids}))(t)
		return fmt.Sprint(out.Status)
	}
	set := func(id string, h types.CustomHealthStatus) {
		apitest.Must(w.UpdateInstanceCustomHealthStatus(t.Context(),
			&sd.UpdateInstanceCustomHealthStatusInput{ServiceId: &svc, InstanceId: &id, Status: h}))(t)
	}
	in := &sd.DiscoverInstancesInput{NamespaceName: s("shop"), ServiceName: s("cart")}
	fallback := &sd.DiscoverInstancesInput{NamespaceName: s("shop"), ServiceName: s("cart"),
		HealthStatus: "HEALTHY_OR_ELSE_ALL"}
	check := func(step, statuses, healthy, orElse string) {
		t.Helper()
		if got := status(svc); got != statuses {
			t.Errorf("%s: %s, want %s", step, got, statuses)
		}
		if got := w.discovered(in); got != healthy {
			t.Errorf("%s: discovered %q, want %q", step, got, healthy)
		}
		if got := w.discovered(fallback); got != orElse {
			t.Errorf("%s: discovered %q with fallback, want %q", step, got, orElse)
		}
	}
	check("registered", "map[a:HEALTHY b:UNHEALTHY]", "a", "a")
	set("a", "UNHEALTHY")
	check("a fails", "map[a:UNHEALTHY b:UNHEALTHY]", "", "a") // b has never been healthy
	set("b", "HEALTHY")
	check("b is ready", "map[a:UNHEALTHY b:HEALTHY]", "b", "b")
	set("b", "UNHEALTHY")
	check("b fails", "map[a:UNHEALTHY b:UNHEALTHY]", "", "a b")
	w.register(svc, "b", "INIT=HEALTHY")
	check("b registers again", "map[a:UNHEALTHY b:HEALTHY]", "b", "b")
	if got := status(svc, "a"); got != "map[a:UNHEALTHY]" {
		t.Errorf("of a alone: %s", got)
	}
	if got := status(plain); got != "map[c:UNKNOWN]" {
		t.Errorf("of a service without health configuration: %s", got)
	}
}
