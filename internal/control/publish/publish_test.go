package publish

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/attributes"
	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
)

var (
	noon  = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	scope = arn.Scope{Account: "1", Region: "r"}
)

// networks returns one network of the VPC vpc-1, without one subnet.
func networks(region, vpc string) (in, except []netip.Prefix) {
	if region != "r" || vpc != "vpc-1" {
		return nil, nil
	}
	return []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}, []netip.Prefix{netip.MustParsePrefix("10.0.9.0/24")}
}

func TestNamespaceOf(t *testing.T) {
	soaTTL := int64(15)
	for _, tc := range []struct {
		name string
		kind registry.Kind
		soa  *int64
		want string // kind, negative TTL, networks, excluded networks
	}{
		{"HTTP", registry.HTTP, nil, "0 60 [] []"},
		{"private", registry.Private, &soaTTL, "1 15 [10.0.0.0/16] [10.0.9.0/24]"},
		{"public", registry.Public, nil, "2 60 [] []"},
	} {
		row := &registry.Namespace{
			ID: "ns-1", Region: "r", Name: "Shop.local", HTTPName: "shop", Kind: tc.kind, VPC: "vpc-1", SOATTL: tc.soa,
			Created: noon,
		}
		ns := namespaceOf(row, networks)
		got := fmt.Sprint(ns.Kind, ns.NegativeTTL, ns.Networks, ns.ExcludedNetworks)
		want := strings.Replace(tc.want, " 60 ", fmt.Sprintf(" %d ", registry.DefaultNegativeTTL), 1)
		if got != want {
			t.Errorf("%s: got %s, want %s", tc.name, got, want)
		}
		if ns.ID != "ns-1" || ns.Region != "r" || ns.Name != "Shop.local" || ns.HTTPName != "shop" ||
			ns.Order != noon.UnixNano() {
			t.Errorf("%s: got %+v, want the row's id, region and names, ordered by age", tc.name, ns)
		}
	}
}

func TestServiceOf(t *testing.T) {
	for _, tc := range []struct {
		name string
		row  registry.Service
		want string // policy, health checked, longest TTL, records
	}{
		{"without DNS", registry.Service{}, "0 false 5 []"},
		{"one record type", registry.Service{Records: []registry.Record{{Type: registry.A, TTL: 60}}},
			"0 false 60 [{1 60}]"},
		{"several record types", registry.Service{Records: []registry.Record{
			{Type: registry.A, TTL: 10}, {Type: registry.AAAA, TTL: 20}, {Type: registry.SRV, TTL: 30},
		}}, "0 false 30 [{1 10} {28 20} {33 30}]"},
		{"the TTL was longer before", registry.Service{
			Records: []registry.Record{{Type: registry.CNAME, TTL: 10}}, FormerTTL: 300,
		}, "0 false 300 [{5 10}]"},
		{"weighted", registry.Service{Policy: registry.Weighted}, "1 false 5 []"},
		{"custom health", registry.Service{CustomHealth: true}, "0 true 5 []"},
		{"health check", registry.Service{HealthCheck: &registry.HealthCheck{}}, "0 true 5 []"},
	} {
		svc := serviceOf(&tc.row)
		if got := fmt.Sprint(svc.Policy, svc.HealthChecked, svc.LongestTTL, svc.Records); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestInstanceOf(t *testing.T) {
	states := map[directory.State]string{
		directory.Healthy: "healthy", directory.Unhealthy: "unhealthy", directory.Unready: "unready",
		directory.Draining: "draining",
	}
	for _, tc := range []struct {
		name       string
		attributes string // IPV4 means AWS_INSTANCE_IPV4, and so on
		row        registry.Instance
		want       string
	}{
		{"IPv4 and port", "IPV4=10.0.0.1 PORT=80", registry.Instance{}, "10.0.0.1 - 80 healthy"},
		{"IPv6", "IPV6=2001:db8::1", registry.Instance{}, "- 2001:db8::1 0 healthy"},
		{"both", "IPV4=10.0.0.1 IPV6=2001:db8::1", registry.Instance{}, "10.0.0.1 2001:db8::1 0 healthy"},
		{"CNAME", "CNAME=web.example", registry.Instance{}, "- - 0 healthy web.example"},
		{"empty values", "IPV4= PORT=", registry.Instance{}, "- - 0 healthy"},
		{"unhealthy", "", registry.Instance{Health: registry.Unhealthy}, "- - 0 unhealthy"},
		{"unready", "", registry.Instance{Health: registry.Unhealthy, Unready: true}, "- - 0 unready"},
		{"draining", "", registry.Instance{Draining: true}, "- - 0 draining"},
		{"draining and unready", "", registry.Instance{Draining: true, Unready: true}, "- - 0 draining"},
		{"task", "", registry.Instance{Task: "r/c/t"}, "- - 0 healthy tracked"},
	} {
		all := map[string]string{"color": "red"}
		for word := range strings.FieldsSeq(tc.attributes) {
			key, value, _ := strings.Cut(word, "=")
			all["AWS_INSTANCE_"+key] = value
		}
		tc.row.ID, tc.row.ServiceID, tc.row.Attributes = "i", "srv-1", attributes.Of(all)
		d := instanceOf(&tc.row)
		addr := func(ip netip.Addr) string {
			if !ip.IsValid() {
				return "-"
			}
			return ip.String()
		}
		got := fmt.Sprintf("%s %s %d %s %s", addr(d.IPv4), addr(d.IPv6), d.Port, states[d.State], d.CNAME)
		if got = strings.TrimSpace(got); d.TrackExpiry {
			got += " tracked"
		}
		if got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
		if d.ID != "i" || d.ServiceID != "srv-1" || d.Attributes != tc.row.Attributes {
			t.Errorf("%s: got %+v, want the row's ids and attributes", tc.name, d)
		}
	}
}

// rowOf returns a row by its name: ns, ns/svc or ns/svc/instance.
func rowOf(name string) any {
	parts := strings.Split(name, "/")
	switch len(parts) {
	case 1:
		return &registry.Namespace{ID: name, Region: "r", Name: name + ".local", HTTPName: name, Kind: registry.Public}
	case 2:
		return &registry.Service{ID: name, NamespaceID: parts[0], Name: parts[1]}
	}
	return &registry.Instance{ID: parts[2], ServiceID: parts[0] + "/" + parts[1]}
}

// contents lists the names of what a directory contains, of the given names.
func contents(dir *directory.Directory, names []string) string {
	var found []string
	for _, name := range names {
		parts := strings.Split(name, "/")
		ok := false
		switch len(parts) {
		case 1:
			_, ok = dir.Namespace(name)
		case 2:
			_, ok = dir.ServiceByID(name)
		default:
			_, ok = dir.Instance(parts[0]+"/"+parts[1], parts[2])
		}
		if ok {
			found = append(found, name)
		}
	}
	return strings.Join(found, " ")
}

// TestApplyOrder checks that the order of the rows in a revision does not matter: a namespace, its services and their
// instances may appear or disappear in one revision.
func TestApplyOrder(t *testing.T) {
	names := []string{"a", "b", "a/x", "a/y", "b/x", "a/x/1", "a/x/2", "b/x/1"}
	rapid.Check(t, func(t *rapid.T) {
		dir := directory.New()
		present := map[string]bool{}
		for rev := range rapid.IntRange(1, 6).Draw(t, "revisions") {
			var rows []store.RowChange
			next := map[string]bool{}
			for _, name := range names { // parents come before their children
				parent, _, nested := cutLast(name)
				next[name] = (!nested || next[parent]) && rapid.Bool().Draw(t, name)
				switch {
				case next[name] && !present[name]:
					rows = append(rows, store.RowChange{New: rowOf(name)})
				case !next[name] && present[name]:
					rows = append(rows, store.RowChange{Old: rowOf(name)})
				}
			}
			present = next
			rows = rapid.Permutation(rows).Draw(t, "order")
			dir.Apply(int64(rev+1), func(b *directory.Batch) { apply(b, rows, networks) })

			want := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !present[name] })
			if got := contents(dir, names); got != strings.Join(want, " ") {
				t.Fatalf("revision %d: the directory contains %q, want %q", rev+1, got, want)
			}
		}
	})
}

// cutLast cuts a name at its last slash.
func cutLast(name string) (parent, child string, ok bool) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "", name, false
	}
	return name[:i], name[i+1:], true
}

// TestFollow checks that a write is in the directory when Update returns, and that a directory that begins to follow
// later has all rows.
func TestFollow(t *testing.T) {
	db := storetest.Open(t, registry.Schema()...)
	dir := directory.New()
	Follow(db, dir, networks)
	call := registry.NewCall(noon)
	_, err := store.Update(t.Context(), db, func(tx *store.Tx) (struct{}, error) {
		spec := registry.NamespaceSpec{Kind: registry.HTTP, Name: "shop"}
		op, err := registry.CreateNamespace(tx, scope, spec, call)
		if err != nil {
			return struct{}{}, err
		}
		svc, err := registry.CreateService(tx, scope, registry.ServiceSpec{
			NamespaceID: op.Targets.Namespace, Name: "web",
		}, call)
		if err != nil {
			return struct{}{}, err
		}
		_, err = registry.RegisterInstance(tx, scope, registry.InstanceSpec{
			ServiceID: svc.ID, ID: "i", Attributes: map[string]string{registry.AttrIPv4: "10.0.0.1"},
		}, call)
		return struct{}{}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	later := directory.New()
	Follow(db, later, networks)
	for name, dir := range map[string]*directory.Directory{"following": dir, "later": later} {
		_, v := dir.Discover("r", "shop", "web")
		if v == nil || v.In(directory.Healthy).Len() != 1 || v.Service.Revision == 0 {
			t.Errorf("%s: got %+v, want the service with one healthy instance and its revision", name, v)
		}
	}
}
