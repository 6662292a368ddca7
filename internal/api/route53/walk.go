package route53

import (
	"cmp"
	"slices"
	"strings"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
)

// The order of a zone's record sets: the names at which services stand, the apex first, as [sortKey] sorts them.
// At each, the types as ASCII; of each type, the instances by their ids. Behind the records of a service with
// SRV records come the names of its hosts, by the instances' ids, before those of services that lie below it.
//
// So nothing but the services of a zone is ever sorted: instances come in the order of their rows. AWS sorts hosts
// too by their labels, which is the same unless ids hold dots or are each other's beginning.

// position is where a walk begins: at the record set of a name, type and identifier, or the first one behind.
type position struct {
	name string // folded; empty is the beginning
	typ  string
	id   string
}

// place is a name of a zone where records stand for a service: its own, or the apex, where there may be none.
type place struct {
	key  string
	name string
	view *directory.View
	apex bool
}

// types are those of the records at a place, in their order.
func (p place) types() []string {
	var types []string
	if p.apex {
		types = append(types, "NS", "SOA")
	}
	if p.view != nil {
		for typ, t := range recordTypes {
			if _, ok := p.view.Service.TTL(t); ok {
				types = append(types, typ)
			}
		}
	}
	slices.Sort(types)
	return types
}

// hosts reports whether the instances have names of their own.
func (p place) hosts() bool {
	if p.view == nil {
		return false
	}
	_, ok := p.view.Service.TTL(directory.SRV)
	return ok
}

// hostTypes are the types of the records at a host's name.
var hostTypes = []string{"A", "AAAA"}

// places lists a zone's, in their order; the apex is always the first.
func (a *API) places(now *store.Snapshot, ns *registry.Namespace) []place {
	apex := directory.CanonicalName(ns.Name)
	all := []place{{key: sortKey(apex), name: apex, apex: true}}
	registry.ScanServices(now, ns.Scope(), registry.ServiceRange{NamespaceID: ns.ID}, func(s *registry.Service) bool {
		v, ok := a.dns.Directory.ServiceByID(s.ID)
		switch {
		case !ok || v.FullName == "": // gone since, or not in DNS
		case v.FullName == apex:
			all[0].view = v
		default:
			all = append(all, place{key: sortKey(v.FullName), name: v.FullName, view: v})
		}
		return true
	})
	slices.SortFunc(all, func(x, y place) int { return cmp.Compare(x.key, y.key) })
	return all
}

// start is a position as the walk has it: a place, and what to leave out there.
type start struct {
	place int
	hosts bool   // leave out the place's own records
	typ   string // leave out the types before it: at the place's name, or else at the first host's
	id    string // leave out the instances before it: of that type, or else of the hosts
}

// locate finds a position. A name that nothing has any more may have been a host's; its service is then begun at
// the host that would follow, so that a list in pages goes on where it was although the host is gone.
func (a *API) locate(places []place, ns *registry.Namespace, at position) start {
	if at.name == "" {
		return start{}
	}
	if k := slices.IndexFunc(places, func(p place) bool { return p.name == at.name }); k >= 0 {
		return start{place: k, typ: at.typ, id: at.id}
	}
	if i, v := a.host(ns, at.name); i != nil {
		if k := slices.IndexFunc(places, func(p place) bool { return p.name == v.FullName }); k >= 0 {
			return start{place: k, hosts: true, typ: at.typ, id: i.ID}
		}
	}
	key := sortKey(at.name)
	for k, p := range places {
		if host, below := strings.CutSuffix(at.name, "."+p.name); below && p.hosts() {
			return start{place: k, hosts: true, id: host}
		}
		if p.key >= key {
			return start{place: k}
		}
	}
	return start{place: len(places)}
}

// host finds the instance that has a host name in a zone, and its service.
func (a *API) host(ns *registry.Namespace, name string) (*directory.Instance, *directory.View) {
	for _, z := range a.dns.Directory.Zones(directory.CanonicalName(ns.Name)) {
		if z.Namespace().ID == ns.ID {
			if m := z.Find(name); m.Kind == directory.HostName {
				return m.Instance, m.View
			}
		}
	}
	return nil, nil
}

// walk calls yield with the record sets of a zone from a position on, until it returns false.
func (a *API) walk(now *store.Snapshot, ns *registry.Namespace, from position, yield func(recordSet) bool) {
	places := a.places(now, ns)
	s := a.locate(places, ns, from)
	for _, p := range places[s.place:] {
		if !s.hosts && !a.walkPlace(now, ns, p, s.typ, s.id, yield) {
			return
		}
		if !s.hosts {
			s = start{} // its type and instance were meant for the place's own records
		}
		if p.hosts() && !a.walkHosts(now, p, s.typ, s.id, yield) {
			return
		}
		s = start{}
	}
}

// walkPlace yields what stands at a service's own name.
func (a *API) walkPlace(now *store.Snapshot, ns *registry.Namespace, p place, fromType, fromID string, yield func(recordSet) bool) bool {
	for _, typ := range p.types() {
		if typ < fromType {
			continue
		}
		if typ == "NS" || typ == "SOA" {
			if !yield(a.apex(ns, typ)) {
				return false
			}
			continue
		}
		id := ""
		if typ == fromType {
			id = fromID
		}
		if !a.instances(now, p.view, id, func(i *directory.Instance) bool {
			s, ok := ofInstance(p.view, typ, i)
			return !ok || yield(s)
		}) {
			return false
		}
	}
	return true
}

// walkHosts yields what stands at the names of a service's hosts. fromType counts for the first of them only.
func (a *API) walkHosts(now *store.Snapshot, p place, fromType, fromID string, yield func(recordSet) bool) bool {
	return a.instances(now, p.view, fromID, func(i *directory.Instance) bool {
		for _, typ := range hostTypes {
			if i.ID == fromID && typ < fromType {
				continue
			}
			if s, ok := ofHost(p.view, typ, i); ok && !yield(s) {
				return false
			}
		}
		return true
	})
}

// instances calls fn with the instances of a service that a zone shows, from an id on, until fn returns false, and
// reports whether it never did. One that is about to leave has no records any more; health only steers answers.
func (a *API) instances(now *store.Snapshot, v *directory.View, from string, fn func(*directory.Instance) bool) (all bool) {
	all = true
	visit := func(id string) bool {
		i, ok := a.dns.Directory.Instance(v.Service.ID, id)
		all = !ok || i.State == directory.Draining || fn(i)
		return all
	}
	if from != "" && !visit(from) { // the scan begins behind it
		return false
	}
	after := registry.InstanceRef{Scope: arn.Scope{Region: v.Namespace.Region}, ServiceID: v.Service.ID, ID: from}
	registry.ScanInstances(now, after, func(row *registry.Instance) bool {
		return visit(row.ID)
	})
	return all
}

// count is how many record sets a walk yields. It looks at every instance once, in the directory's arrays: some
// milliseconds for a service of 100,000.
func (a *API) count(now *store.Snapshot, ns *registry.Namespace) int {
	n := 2 // NS and SOA
	for _, p := range a.places(now, ns) {
		if p.view == nil {
			continue
		}
		var types []directory.RecordType
		for _, r := range p.view.Service.Records {
			types = append(types, r.Type)
		}
		if p.hosts() {
			types = append(types, directory.A, directory.AAAA)
		}
		for _, state := range []directory.State{directory.Healthy, directory.Unhealthy, directory.Unready} {
			set := p.view.In(state)
			for k := range set.Len() {
				for _, t := range types {
					if answerable(t, set.At(k)) {
						n++
					}
				}
			}
		}
	}
	return n
}
