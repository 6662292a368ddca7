package directory

import (
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
)

// Zone is a private or public namespace as a resolver sees it.
type Zone struct {
	state *nsState
	nodes table[*node] // by full name; contains every service and every name above one
}

// node is a name that exists in a zone: that of a service, or one above a service or host.
type node struct {
	refs    int // the references that addRefs counts; only Apply uses it
	service atomic.Pointer[serviceNode]
}

// Namespace returns the zone's namespace.
func (z *Zone) Namespace() *Namespace { return z.state.ns.Load() }

// MatchKind is the kind of a name in a zone.
type MatchKind uint8

// The kinds of names that a lookup distinguishes.
const (
	NoName      MatchKind = iota // neither the name nor a name below it exists (NXDOMAIN)
	EmptyName                    // the apex without a service, or a name that exists because of one below it (NODATA)
	ServiceName                  // the name of a service
	HostName                     // the name of an instance whose service has SRV records: the target of its SRV record
)

// Match is the result of looking up a name in a zone.
type Match struct {
	Kind     MatchKind
	View     *View     // the service, for ServiceName and HostName
	Instance *Instance // the instance, for HostName
}

// Zone returns the zone that answers a client's query for name: of the zones that enclose the name and that the client
// may query, the one with the longest name. name is in canonical form ([CanonicalName]).
func (d *Directory) Zone(client netip.Addr, name string) (*Zone, bool) {
	for {
		if zs, ok := d.zones.get(name); ok {
			for _, z := range zs {
				if z.Namespace().allows(client) {
					return z, true
				}
			}
		}
		_, rest, more := strings.Cut(name, ".")
		if !more {
			return nil, false
		}
		name = rest
	}
}

// Zones returns all zones that enclose name, regardless of the client. The longest zone name comes first. Zones with
// the same name are in the order in which Zone considers them.
func (d *Directory) Zones(name string) []*Zone {
	var all []*Zone
	for more := true; more; _, name, more = strings.Cut(name, ".") {
		zs, _ := d.zones.get(name)
		all = append(all, zs...)
	}
	return all
}

// allows reports whether a client may query the namespace.
func (ns *Namespace) allows(client netip.Addr) bool {
	if ns.Kind == Public || len(ns.Networks) == 0 {
		return true
	}
	client = client.Unmap()
	within := func(p netip.Prefix) bool { return p.Contains(client) }
	return slices.ContainsFunc(ns.Networks, within) && !slices.ContainsFunc(ns.ExcludedNetworks, within)
}

// Find looks up a name, which is in canonical form and lies in the zone.
func (z *Zone) Find(name string) Match {
	n, exists := z.nodes.get(name)
	if exists {
		if s := n.service.Load(); s != nil {
			return Match{Kind: ServiceName, View: s.view.Load()}
		}
	}
	apex := CanonicalName(z.Namespace().Name)
	for i := strings.IndexByte(name, '.'); i >= 0 && len(name)-i-1 >= len(apex); {
		if above, ok := z.nodes.get(name[i+1:]); ok {
			if m, ok := above.findHost(name[:i]); ok {
				return m
			}
		}
		next := strings.IndexByte(name[i+1:], '.')
		if next < 0 {
			break
		}
		i += 1 + next
	}
	if !exists {
		if name == apex {
			return Match{Kind: EmptyName}
		}
		return Match{Kind: NoName}
	}
	// While a service is being removed, its node exists for a moment without the service, so look the name up again.
	switch n, still := z.nodes.get(name); {
	case still && n.service.Load() != nil:
		return z.Find(name)
	case still || name == apex:
		return Match{Kind: EmptyName}
	}
	return Match{Kind: NoName}
}

// findHost finds an instance of the service at n by its canonical id. Only instances of services with SRV records have
// host names.
func (n *node) findHost(id string) (Match, bool) {
	s := n.service.Load()
	if s == nil {
		return Match{}, false
	}
	v := s.view.Load()
	if _, srv := v.Service.TTL(SRV); !srv {
		return Match{}, false
	}
	inst, ok := s.instanceByCanonicalID(id)
	if !ok {
		return Match{}, false
	}
	return Match{Kind: HostName, View: v, Instance: inst}, true
}

// HostName returns the DNS name of an instance of a service with SRV records: the target of its SRV record.
func (v *View) HostName(i *Instance) string { return CanonicalName(i.ID) + "." + v.FullName }

// addRefs adds delta to the references of a name and of every name between it and the apex. A name exists as long as it
// has references. If service is not nil, the name has the service from the moment at which readers can find the name.
// addRefs returns the node of the name.
func (z *Zone) addRefs(name string, delta int, service *serviceNode) *node {
	apex := CanonicalName(z.Namespace().Name)
	var at *node
	for {
		n, ok := z.nodes.get(name)
		if !ok {
			n = &node{}
		}
		if at == nil {
			at = n
			if service != nil {
				n.service.Store(service)
			}
		}
		if !ok {
			z.nodes.put(name, n)
		}
		n.refs += delta
		if n.refs == 0 {
			z.nodes.remove(name)
		}
		if name == apex {
			return at
		}
		_, name, _ = strings.Cut(name, ".")
	}
}

// parentName returns the name one label above an instance's host name, or "" if that is the name of the service.
func parentName(id, service string) string {
	if _, rest, found := strings.Cut(id, "."); found {
		return rest + "." + service
	}
	return ""
}
