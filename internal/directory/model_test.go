package directory_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/bakingclouds/rollcall/internal/attributes"
	"github.com/bakingclouds/rollcall/internal/directory"
)

// model is a directory of one zone in plain maps. Apply and all lookups must agree with it.
type model struct {
	services map[string]*modelService // by id
}

type modelService struct {
	name      string
	srv       bool
	revision  int64
	instances map[string]directory.Instance
}

const modelZone = "corp"

// The few names and ids are chosen to interact: names that are parents of names, ids with dots and capital letters, and
// an id whose host name is the name of another service. The registry rejects ids that differ only in case, so they do
// not occur here.
var (
	modelNames = []string{".", "a", "b", "a.b", "c.a.b", "x"}
	modelIDs   = []string{"i", "j", "A", "10.0.0.1", "p.q", "0.1"}
)

func anyState(t *rapid.T) directory.State {
	return directory.State(rapid.IntRange(0, 3).Draw(t, "state"))
}

// TestAgainstModel applies random batches and compares every lookup with the model's after each.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, m := directory.New(), &model{services: map[string]*modelService{}}
		d.Apply(1, func(b *directory.Batch) {
			b.PutNamespace(directory.Namespace{ID: "ns", Name: modelZone, HTTPName: modelZone, Kind: directory.Public})
		})
		for rev := int64(2); rev < 20; rev++ {
			d.Apply(rev, func(b *directory.Batch) {
				for range rapid.IntRange(1, 12).Draw(t, "changes") {
					m.change(t, b)
				}
			})
			if d.Applied() != rev {
				t.Fatalf("applied %d, want %d", d.Applied(), rev)
			}
			m.compare(t, d)
		}
	})
}

// change makes one random change to the model and to the directory.
func (m *model) change(t *rapid.T, b *directory.Batch) {
	name := rapid.SampledFrom(modelNames).Draw(t, "service")
	id := "svc-" + name
	s := m.services[id]
	instance := rapid.SampledFrom(modelIDs).Draw(t, "instance")
	changes := []string{"service", "remove service", "put", "put", "put", "put", "remove", "revision"}
	switch rapid.SampledFrom(changes).Draw(t, "change") {
	case "service":
		if s == nil {
			s = &modelService{name: name, srv: rapid.Bool().Draw(t, "srv"), instances: map[string]directory.Instance{}}
			m.services[id] = s
		}
		records := []directory.Record{{Type: directory.A, TTL: rapid.Uint32Range(0, 3).Draw(t, "ttl")}}
		if s.srv {
			records = append(records, directory.Record{Type: directory.SRV, TTL: 7})
		}
		b.PutService(directory.Service{ID: id, NamespaceID: "ns", Name: name, Records: records, Revision: s.revision})
	case "remove service":
		b.RemoveService(id)
		delete(m.services, id)
	case "put":
		i := directory.Instance{ID: instance, ServiceID: id, State: anyState(t),
			IPv4: netip.AddrFrom4([4]byte{10, 0, 0, rapid.Byte().Draw(t, "address")})}
		b.PutInstance(&i)
		if s != nil {
			s.instances[instance] = i
		}
	case "remove":
		b.RemoveInstance(id, instance)
		if s != nil {
			delete(s.instances, instance)
		}
	case "revision":
		rev := rapid.Int64Range(0, 100).Draw(t, "revision")
		b.SetRevision(id, rev)
		if s != nil {
			s.revision = max(s.revision, rev)
		}
	}
}

func (m *model) compare(t *rapid.T, d *directory.Directory) {
	zone, ok := d.Zone(netip.MustParseAddr("127.0.0.1"), modelZone)
	if !ok {
		t.Fatal("the zone does not exist")
	}
	for name := range m.queryNames() {
		want, got := m.find(name), describe(zone.Find(name))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s (-want +got):\n%s\nmodel %+v", name, diff, m.services)
		}
	}
	for _, name := range modelNames {
		s := m.services["svc-"+name]
		v, ok := d.ServiceByID("svc-" + name)
		_, discovered := d.Discover("", modelZone, name)
		if ok != (s != nil) || (discovered != nil) != ok {
			t.Fatalf("service %s: found %v, discovered %v, want %v", name, ok, discovered, s != nil)
		}
		if s == nil {
			continue
		}
		if v.Service.Revision != s.revision {
			t.Fatalf("service %s: revision %d, want %d", name, v.Service.Revision, s.revision)
		}
		for _, id := range modelIDs {
			i, ok := d.Instance("svc-"+name, id)
			want, exists := s.instances[id]
			if ok != exists || ok && !cmp.Equal(*i, want, byValue, cmpopts.IgnoreUnexported(want)) {
				t.Fatalf("instance %s of %s: %v, want %v", id, name, i, want)
			}
		}
	}
}

var byValue = cmpopts.EquateComparable(netip.Addr{}, attributes.Set{})

// queryNames returns the names to look up: each name that may exist, the names above it, and one below it.
func (m *model) queryNames() map[string]bool {
	names := map[string]bool{}
	for _, s := range modelNames {
		for _, id := range append(modelIDs, "unknown") {
			n := directory.CanonicalName(id) + "." + modelName(s)
			for ; strings.HasSuffix(n, modelZone); _, n, _ = strings.Cut(n, ".") {
				names[n] = true
			}
		}
	}
	return names
}

func modelName(service string) string {
	if service == "." {
		return modelZone
	}
	return service + "." + modelZone
}

// found is a Match in a form that can be compared.
type found struct {
	Kind     directory.MatchKind
	Service  string
	Instance string
	Sets     [4][]string // sorted "instance=address", by state
}

func describe(f directory.Match) found {
	out := found{Kind: f.Kind}
	if f.View == nil {
		return out
	}
	out.Service = f.View.Service.Name
	if f.Instance != nil {
		out.Instance = show(*f.Instance)
	}
	for state := range out.Sets {
		set := f.View.In(directory.State(state))
		for k := range set.Len() {
			out.Sets[state] = append(out.Sets[state], show(*set.At(k)))
		}
		slices.Sort(out.Sets[state])
	}
	return out
}

func show(i directory.Instance) string { return fmt.Sprint(i.ID, "=", i.IPv4) }

// find is Zone.Find by brute force. It prefers a service to a host, and a host of the longest service name; then it
// checks whether a name below exists.
func (m *model) find(name string) found {
	var host found
	longest, below := -1, name == modelZone
	for _, s := range m.services {
		full := modelName(s.name)
		if full == name {
			return m.describe(s, directory.ServiceName, "")
		}
		below = below || strings.HasSuffix(full, "."+name)
		if !s.srv {
			continue
		}
		for id, i := range s.instances {
			h := directory.CanonicalName(id) + "." + full
			if h == name && len(full) > longest {
				longest, host = len(full), m.describe(s, directory.HostName, show(i))
			}
			below = below || strings.HasSuffix(h, "."+name)
		}
	}
	switch {
	case longest >= 0:
		return host
	case below:
		return found{Kind: directory.EmptyName}
	}
	return found{Kind: directory.NoName}
}

func (m *model) describe(s *modelService, f directory.MatchKind, instance string) found {
	out := found{Kind: f, Service: s.name, Instance: instance}
	for _, id := range slices.Sorted(maps.Keys(s.instances)) {
		i := s.instances[id]
		out.Sets[i.State] = append(out.Sets[i.State], show(i))
	}
	for k := range out.Sets {
		slices.Sort(out.Sets[k])
	}
	return out
}
