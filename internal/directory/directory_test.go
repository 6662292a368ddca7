package directory_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/directory"
)

var local = netip.MustParseAddr("127.0.0.1")

func namespace(id, name string, kind directory.Kind) directory.Namespace {
	return directory.Namespace{ID: id, Region: "r", Name: name, HTTPName: name, Kind: kind}
}

func service(id, ns, name string) directory.Service {
	records := []directory.Record{{Type: directory.SRV, TTL: 60}}
	return directory.Service{ID: id, NamespaceID: ns, Name: name, Records: records}
}

func TestCanonicalName(t *testing.T) {
	for in, want := range map[string]string{
		"": "", ".": "", "corp": "corp", "corp.": "corp", "Web.CORP.": "web.corp", "wEb": "web", "É": "É", "a..": "a.",
	} {
		if got := directory.CanonicalName(in); got != want {
			t.Errorf("CanonicalName(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestDiscover checks that names are case-sensitive in HTTP namespaces only.
func TestDiscover(t *testing.T) {
	d := directory.New()
	d.Apply(1, func(b *directory.Batch) {
		b.PutNamespace(namespace("dns", "corp", directory.Private))
		b.PutService(service("s1", "dns", "Web"))
		b.PutNamespace(namespace("http", "Shop", directory.HTTP))
		b.PutService(service("s2", "http", "Cart"))
	})
	for _, tc := range []struct{ region, namespace, service, want string }{
		{"r", "corp", "Web", "s1"},
		{"r", "corp", "web", "s1"},
		{"r", "Corp", "WEB", "s1"},
		{"r", "corp", "other", "namespace only"},
		{"r", "Shop", "Cart", "s2"},
		{"r", "Shop", "cart", "namespace only"},
		{"r", "shop", "Cart", "nothing"},
		{"other", "corp", "Web", "nothing"},
	} {
		got := "nothing"
		if ns, v := d.Discover(tc.region, tc.namespace, tc.service); v != nil {
			got = v.Service.ID
		} else if ns != nil {
			got = "namespace only"
		}
		if got != tc.want {
			t.Errorf("%s/%s/%s: %s, want %s", tc.region, tc.namespace, tc.service, got, tc.want)
		}
	}
}

// TestRemoveNamespace checks that a namespace is removed with all its content, including what the same batch has
// added.
func TestRemoveNamespace(t *testing.T) {
	d := directory.New()
	d.Apply(1, func(b *directory.Batch) {
		b.PutNamespace(namespace("one", "corp", directory.Public))
		b.PutService(service("s1", "one", "web"))
		b.PutInstance(&directory.Instance{ID: "i.j", ServiceID: "s1"})
	})
	d.Apply(2, func(b *directory.Batch) {
		b.PutService(service("s2", "one", "api"))
		b.PutInstance(&directory.Instance{ID: "i", ServiceID: "s2"})
		b.RemoveNamespace("one")
	})
	if _, ok := d.Zone(local, "corp"); ok {
		t.Error("the zone still exists")
	}
	for _, id := range []string{"s1", "s2"} {
		if _, ok := d.ServiceByID(id); ok {
			t.Errorf("service %s still exists", id)
		}
	}
	if ns, _ := d.Discover("r", "corp", "web"); ns != nil {
		t.Error("Discover still finds the namespace")
	}
}

// TestUnknownParents checks that changes to unknown namespaces, services and instances are ignored.
func TestUnknownParents(t *testing.T) {
	d := directory.New()
	d.Apply(7, func(b *directory.Batch) {
		b.PutService(service("s", "nowhere", "web"))
		b.PutInstance(&directory.Instance{ID: "i", ServiceID: "nowhere"})
		b.SetRevision("nowhere", 1)
		b.RemoveInstance("nowhere", "i")
		b.RemoveService("nowhere")
		b.RemoveNamespace("nowhere")
	})
	if _, ok := d.ServiceByID("s"); ok || d.Applied() != 7 {
		t.Errorf("service found: %v, applied: %d, want false and 7", ok, d.Applied())
	}
}

// TestAtomicViews replaces all instances of a service in each batch, and adds and removes another service together with
// its instances, while several goroutines read. A reader that finds a service must find all its instances, and all must
// be of one generation.
func TestAtomicViews(t *testing.T) {
	const instances, generations = 300, 200
	d := directory.New()
	d.Apply(1, func(b *directory.Batch) { b.PutNamespace(namespace("ns", "corp", directory.Public)) })
	zone, _ := d.Zone(local, "corp")
	fill := func(b *directory.Batch, id string, gen int64) {
		for k := range instances {
			b.PutInstance(&directory.Instance{ID: fmt.Sprint("i.", k), ServiceID: id, Port: uint16(gen),
				State: directory.State(gen % 2)})
		}
		b.SetRevision(id, gen)
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	check := func(name string) (found bool) { return checkGeneration(t, zone, name, instances) }
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					check("steady.corp")
					check("temporary.corp")
				}
			}
		})
	}
	for gen := int64(2); gen < generations; gen++ {
		d.Apply(gen, func(b *directory.Batch) {
			if gen == 2 {
				b.PutService(service("steady", "ns", "steady"))
			}
			fill(b, "steady", gen)
			if gen%4 < 2 {
				b.RemoveService("temporary")
			} else {
				b.PutService(service("temporary", "ns", "temporary"))
				fill(b, "temporary", gen)
			}
		})
		if !check("steady.corp") || check("temporary.corp") != (gen%4 >= 2) {
			t.Fatalf("revision %d is not visible after Apply has returned", gen)
		}
	}
	close(done)
	readers.Wait()
}

// checkGeneration looks up a service, and checks that it has all its instances, and that all are of one generation. It
// reports whether the service was found.
func checkGeneration(t *testing.T, zone *directory.Zone, name string, instances int) (found bool) {
	t.Helper()
	m := zone.Find(name)
	if m.Kind == directory.NoName {
		return false
	}
	if m.Kind != directory.ServiceName {
		t.Errorf("%s: match kind %d, want ServiceName or NoName", name, m.Kind)
		return true
	}
	set, gen := m.View.Answerable(), m.View.Service.Revision
	if set.Len() != instances || m.View.In(directory.State(1-gen%2)).Len() != 0 {
		t.Errorf("%s: %d instances of generation %d, want %d", name, set.Len(), gen, instances)
		return true
	}
	for k := range set.Len() {
		if i := set.At(k); i.Port != uint16(gen) {
			t.Errorf("%s: instance of generation %d in a view of generation %d", name, i.Port, gen)
			return true
		}
	}
	return true
}

// oneMore returns a function that adds an instance to a service of a size in one revision, and removes it in the next.
func oneMore(size int) (addAndRemove func()) {
	d := directory.New()
	d.Apply(1, func(b *directory.Batch) {
		b.PutNamespace(namespace("ns", "corp", directory.Public))
		b.PutService(service("s", "ns", "web"))
		for k := range size {
			b.PutInstance(&directory.Instance{ID: fmt.Sprint("i-", k), ServiceID: "s"})
		}
	})
	one := &directory.Instance{ID: "one-more", ServiceID: "s"}
	return func() {
		d.Apply(2, func(b *directory.Batch) { b.PutInstance(one) })
		d.Apply(3, func(b *directory.Batch) { b.RemoveInstance("s", one.ID) })
	}
}

// TestChangeAllocation checks that a change to a large service allocates at most twice as much as one to a small
// service. BenchmarkOneMoreInstance measures the time.
func TestChangeAllocation(t *testing.T) {
	bytes := func(size int) uint64 {
		change := oneMore(size)
		change()
		const times = 1000
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range times {
			change()
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / times
	}
	if small, large := bytes(100), bytes(100_000); large > 2*small {
		t.Errorf("one more instance allocates %d bytes in a service of 100 instances, %d in one of 100,000",
			small, large)
	}
}

func BenchmarkOneMoreInstance(b *testing.B) {
	var small float64
	for _, size := range []int{100, 100_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			change := oneMore(size)
			b.ReportAllocs()
			start := time.Now()
			for b.Loop() {
				change()
			}
			each := float64(time.Since(start)) / float64(b.N)
			if small == 0 {
				small = each
			}
			b.ReportMetric(each/small, "x-smallest")
		})
	}
}
