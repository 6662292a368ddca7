package directory

import (
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
)

// Zone is a DNS namespace as a resolver sees it.
type Zone struct {
	state *nsState
	nodes table[*node] // full name -> node; the apex has one, and so has every name above a service
}

// node is one name of a zone that exists: because a service stands there or below.
type node struct {
	refs    int // names at or below; the writer's alone
	service atomic.Pointer[serviceNode]
}

// Namespace is the zone's namespace.
func (z *Zone) Namespace() *Namespace { return z.state.ns.Load() }

// MatchKind says what stands at a name.
type MatchKind uint8

// What a lookup can find.
const (
	NoName      MatchKind = iota // nothing at or below the name: NXDOMAIN
	EmptyName                    // the apex, or a name with something below it: no data
	ServiceName                  // a service
	HostName                     // an instance of a service with SRV records: the target of its SRV record
)

// Match is what stands at a name of a zone.
type Match struct {
	Kind     MatchKind
	View     *View     // ServiceName, HostName: the service
	Instance *Instance // HostName
}

// Zone finds the zone that answers name for a client: the longest that encloses the name and may answer
// the client. name is folded ([CanonicalName]).
func (d *Directory) Zone(client netip.Addr, name string) (*Zone, bool) {
	for {
		if zs, ok := d.zones.get(name); ok {
			for _, z := range zs {
				if z.Namespace().answers(client) {
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

// Zones are the zones that enclose name, whoever may ask them: the longest name first, and of one name in
// the order in which they are asked.
func (d *Directory) Zones(name string) []*Zone {
	var all []*Zone
	for more := true; more; _, name, more = strings.Cut(name, ".") {
		zs, _ := d.zones.get(name)
		all = append(all, zs...)
	}
	return all
}

// answers reports whether a client may ask for this namespace.
func (ns *Namespace) answers(client netip.Addr) bool {
	if ns.Kind == Public || len(ns.Networks) == 0 {
		return true
	}
	client = client.Unmap()
	within := func(p netip.Prefix) bool { return p.Contains(client) }
	return slices.ContainsFunc(ns.Networks, within) && !slices.ContainsFunc(ns.ExcludedNetworks, within)
}

// Find says what stands at name, which is folded and lies in the zone.
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
			if m, ok := above.host(name[:i]); ok {
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
	// A service that was just taken away leaves its node for an instant: look again whether the name exists.
	switch n, still := z.nodes.get(name); {
	case still && n.service.Load() != nil:
		return z.Find(name)
	case still || name == apex:
		return Match{Kind: EmptyName}
	}
	return Match{Kind: NoName}
}

// host looks for an instance of the service at n; a service has host names only when it has SRV records.
func (n *node) host(id string) (Match, bool) {
	s := n.service.Load()
	if s == nil {
		return Match{}, false
	}
	v := s.view.Load()
	if _, srv := v.Service.TTL(SRV); !srv {
		return Match{}, false
	}
	inst, ok := s.host(id)
	if !ok {
		return Match{}, false
	}
	return Match{Kind: HostName, View: v, Instance: inst}, true
}

// HostName is the DNS name of an instance of a service with SRV records: the target of its SRV record.
func (v *View) HostName(i *Instance) string { return CanonicalName(i.ID) + "." + v.FullName }

// ref counts a name, and every name between it and the apex, as existing (delta 1) or no more (-1). A
// service that is to stand at the name stands there from the first moment on.
func (z *Zone) ref(name string, delta int, stands *serviceNode) *node {
	apex := CanonicalName(z.Namespace().Name)
	var at *node
	for {
		n, ok := z.nodes.get(name)
		if !ok {
			n = &node{}
		}
		if at == nil {
			at = n
			if stands != nil {
				n.service.Store(stands)
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

// above is the name one label up from an instance's host name, "" when that is the service itself.
func above(id, service string) string {
	if _, rest, dotted := strings.Cut(id, "."); dotted {
		return rest + "." + service
	}
	return ""
}
