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

// The order of a zone's record sets: the names of services, the apex first, as [sortKey] sorts them. At each name, the
// types as ASCII; for each type, the instances by id. The records of a service with SRV records are followed by the
// names of its hosts, by the instances' ids, before the services below it.
//
// So only the services of a zone are sorted: instances have the order of their rows. AWS also sorts hosts by their
// labels. The order is the same unless ids contain dots or one is a prefix of another.

// position is the start of a walk: the record set of a name, type and identifier, or the first one after it.
type position struct {
	name string // folded; empty means the beginning
	typ  string
	id   string
}

// owner is a name in a zone that has records: the name of a service, or the apex, which need not have a service.
type owner struct {
	key  string
	name string
	view *directory.View
	apex bool
}

// types returns the sorted types of the owner's records.
func (o owner) types() []string {
	var types []string
	if o.apex {
		types = append(types, "NS", "SOA")
	}
	if o.view != nil {
		for typ, t := range recordTypes {
			if _, ok := o.view.Service.TTL(t); ok {
				types = append(types, typ)
			}
		}
	}
	slices.Sort(types)
	return types
}

// hasHosts reports whether the instances have their own names.
func (o owner) hasHosts() bool {
	if o.view == nil {
		return false
	}
	_, ok := o.view.Service.TTL(directory.SRV)
	return ok
}

// hostTypes are the types of the records at a host's name.
var hostTypes = []string{"A", "AAAA"}

// owners returns the owners of a zone in order. The apex is always the first.
func (a *API) owners(now *store.Snapshot, ns *registry.Namespace) []owner {
	apex := directory.CanonicalName(ns.Name)
	all := []owner{{key: sortKey(apex), name: apex, apex: true}}
	registry.ScanServices(now, ns.Scope(), registry.ServiceRange{NamespaceID: ns.ID}, func(s *registry.Service) bool {
		v, ok := a.dns.Directory.ServiceByID(s.ID)
		switch {
		case !ok || v.FullName == "": // deregistered in the meantime, or not in DNS
		case v.FullName == apex:
			all[0].view = v
		default:
			all = append(all, owner{key: sortKey(v.FullName), name: v.FullName, view: v})
		}
		return true
	})
	slices.SortFunc(all, func(x, y owner) int { return cmp.Compare(x.key, y.key) })
	return all
}

// start is a position within a walk: an owner, and the records to omit there.
type start struct {
	owner int
	hosts bool   // omit the owner's own records
	typ   string // omit the types before it, at the owner's name or else at the first host's
	id    string // omit the instances before it, of that type or else of the hosts
}

// locate finds a position. If the name does not exist any more, it may have been the name of a host. The walk then
// continues with the next host of the same service, so that a list in pages continues at the right record.
func (a *API) locate(owners []owner, ns *registry.Namespace, at position) start {
	if at.name == "" {
		return start{}
	}
	if k := slices.IndexFunc(owners, func(o owner) bool { return o.name == at.name }); k >= 0 {
		return start{owner: k, typ: at.typ, id: at.id}
	}
	if i, v := a.host(ns, at.name); i != nil {
		if k := slices.IndexFunc(owners, func(o owner) bool { return o.name == v.FullName }); k >= 0 {
			return start{owner: k, hosts: true, typ: at.typ, id: i.ID}
		}
	}
	key := sortKey(at.name)
	for k, o := range owners {
		if host, below := strings.CutSuffix(at.name, "."+o.name); below && o.hasHosts() {
			return start{owner: k, hosts: true, id: host}
		}
		if o.key >= key {
			return start{owner: k}
		}
	}
	return start{owner: len(owners)}
}

// host finds the instance with a host name in a zone, and its service.
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

// walk calls yield for the record sets of a zone from a position, until it returns false.
func (a *API) walk(now *store.Snapshot, ns *registry.Namespace, from position, yield func(recordSet) bool) {
	owners := a.owners(now, ns)
	s := a.locate(owners, ns, from)
	for _, o := range owners[s.owner:] {
		if !s.hosts && !a.walkOwner(now, ns, o, s.typ, s.id, yield) {
			return
		}
		if !s.hosts {
			s = start{} // its type and instance refer to the owner's own records
		}
		if o.hasHosts() && !a.walkHosts(now, o, s.typ, s.id, yield) {
			return
		}
		s = start{}
	}
}

// walkOwner yields the records at a service's name.
func (a *API) walkOwner(
	now *store.Snapshot, ns *registry.Namespace, o owner, fromType, fromID string, yield func(recordSet) bool,
) bool {
	for _, typ := range o.types() {
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
		if !a.instances(now, o.view, id, func(i *directory.Instance) bool {
			s, ok := instanceRecordSet(o.view, typ, i)
			return !ok || yield(s)
		}) {
			return false
		}
	}
	return true
}

// walkHosts yields the records at the names of a service's hosts. fromType applies only to the first of them.
func (a *API) walkHosts(now *store.Snapshot, o owner, fromType, fromID string, yield func(recordSet) bool) bool {
	return a.instances(now, o.view, fromID, func(i *directory.Instance) bool {
		for _, typ := range hostTypes {
			if i.ID == fromID && typ < fromType {
				continue
			}
			if s, ok := hostRecordSet(o.view, typ, i); ok && !yield(s) {
				return false
			}
		}
		return true
	})
}

// instances calls fn for the instances of a service that a zone shows, from an id, until fn returns false. It reports
// whether fn never did. A draining instance has no records any more; the health of an instance only affects answers.
func (a *API) instances(
	now *store.Snapshot, v *directory.View, from string, fn func(*directory.Instance) bool,
) (all bool) {
	all = true
	visit := func(id string) bool {
		i, ok := a.dns.Directory.Instance(v.Service.ID, id)
		all = !ok || i.State == directory.Draining || fn(i)
		return all
	}
	if from != "" && !visit(from) { // the scan begins after it
		return false
	}
	after := registry.InstanceRef{Scope: arn.Scope{Region: v.Namespace.Region}, ServiceID: v.Service.ID, ID: from}
	registry.ScanInstances(now, after, func(row *registry.Instance) bool {
		return visit(row.ID)
	})
	return all
}

// countRecordSets returns the number of record sets in a zone. It visits each instance once, in the directory's arrays:
// some milliseconds for a service with 100,000 instances.
func (a *API) countRecordSets(now *store.Snapshot, ns *registry.Namespace) int {
	n := 2 // NS and SOA
	for _, o := range a.owners(now, ns) {
		if o.view == nil {
			continue
		}
		var types []directory.RecordType
		for _, r := range o.view.Service.Records {
			types = append(types, r.Type)
		}
		if o.hasHosts() {
			types = append(types, directory.A, directory.AAAA)
		}
		for _, state := range []directory.State{directory.Healthy, directory.Unhealthy, directory.Unready} {
			set := o.view.In(state)
			for k := range set.Len() {
				for _, t := range types {
					if hasRecord(t, set.At(k)) {
						n++
					}
				}
			}
		}
	}
	return n
}
