// Package directory is the live index that DNS and DiscoverInstances answer from: namespaces to services
// to instances, and whether each instance may be answered.
//
// One [Directory.Apply] carries one store revision. What a reader sees of a service, its settings and its
// instances in all their states, hangs on one atomic pointer ([View]), so a reader sees a service wholly
// before or wholly after a change, and keeps what it saw for as long as it likes. Names are found through
// sharded maps whose locks are held for one map operation only, so no reader waits for a writer's work.
//
// A change costs in proportion to the change: one more instance in a service of 100,000 copies a few small
// nodes of a tree ([Set]), not the service.
//
// Addresses that are handed out are held: the directory knows until when clients may use each, so that what
// answers there can be told to stop exactly then ([Instance.MarkSent], [Directory.ExpiresAt], [Guard]).
//
// directory knows names, instances and health. It knows nothing of the store, of AWS or of sockets, and it
// picks nothing at random: that is the answerer's.
package directory

import (
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/bakingclouds/rollcall/internal/attributes"
)

// Kind says where a namespace is answered.
type Kind uint8

// The kinds of namespace, after Cloud Map: HTTP ones answer DiscoverInstances only.
const (
	HTTP Kind = iota
	Private
	Public
)

// Namespace is the boundary in which services find each other; a DNS one is also a zone.
type Namespace struct {
	ID       string
	Region   string
	Name     string // as given; compared without case in DNS
	HTTPName string // what DiscoverInstances calls it: unique in a region
	Kind     Kind
	// Networks are the clients a private namespace answers; none means everybody who reaches the server.
	Networks []netip.Prefix
	// ExcludedNetworks are clients within Networks that it does not answer: those of another VPC.
	ExcludedNetworks []netip.Prefix
	// NegativeTTL is how long a negative answer lives, in seconds (RFC 2308, section 5).
	NegativeTTL uint32
	// Order decides between namespaces of one name that claim the same client: the smaller (older) answers.
	Order int64
}

// RecordType is a DNS type that a service can be answered with; the values are those of the wire.
type RecordType uint16

// The record types of Cloud Map.
const (
	A     RecordType = 1
	CNAME RecordType = 5
	AAAA  RecordType = 28
	SRV   RecordType = 33
)

// Record says that a service is answered with a type, and for how long an answer lives.
type Record struct {
	Type RecordType
	TTL  uint32 // seconds
}

// Policy says how many instances an answer holds.
type Policy uint8

// The routing policies of Cloud Map: up to eight instances, or exactly one.
const (
	Multivalue Policy = iota
	Weighted
)

// Service is an application in a namespace. Without Records it is not in DNS.
type Service struct {
	ID          string
	NamespaceID string
	Name        string // as given; "." stands at the zone's apex
	Records     []Record
	Policy      Policy
	// HealthChecked services have a health configuration, so that DiscoverInstances filters by health.
	HealthChecked bool
	// Revision is the InstancesRevision: it grows when an instance is registered or deregistered.
	Revision int64
	// LongestTTL is the greatest TTL, in seconds, that the service's answers ever had.
	LongestTTL uint32
}

// DefaultDiscoverTTL is for how long, in seconds, a client is taken to use what DiscoverInstances answered of a service
// that has no DNS records, and hence no TTL of its own.
const DefaultDiscoverTTL = 5

// DiscoverTTL is for how long, in seconds, a client is taken to use what DiscoverInstances answered, which
// bears no TTL: as long as the service's DNS answers.
func (s *Service) DiscoverTTL() uint32 {
	if len(s.Records) == 0 {
		return DefaultDiscoverTTL
	}
	var ttl uint32
	for _, r := range s.Records {
		ttl = max(ttl, r.TTL)
	}
	return ttl
}

// TTL returns the record of the type, and whether the service has one.
func (s *Service) TTL(t RecordType) (uint32, bool) {
	for _, r := range s.Records {
		if r.Type == t {
			return r.TTL, true
		}
	}
	return 0, false
}

// State says whether an instance may be answered.
type State uint8

// The states of an instance. Unhealthy ones are answered when no healthy one is left, as Route 53 does;
// Unready ones (never healthy yet) and Draining ones are in no answer of their service.
const (
	Healthy State = iota
	Unhealthy
	Unready
	Draining
	states = 4
)

// Instance is one address (and port) that answers for a service. It never changes: a new one replaces it.
type Instance struct {
	ID         string
	ServiceID  string
	IPv4, IPv6 netip.Addr
	CNAME      string // without trailing dot
	Port       uint16
	State      State
	// TrackExpiry says that somebody will ask [Directory.ExpiresAt] before what answers at the address is stopped.
	TrackExpiry bool
	Attributes  attributes.Set

	hold *hold // nil unless it drains
}

// Directory is the index. Any number of readers, one writer at a time (Apply).
type Directory struct {
	zones   table[[]*Zone]      // zone name -> zones of that name: private before public, then oldest first
	byHTTP  table[*nsState]     // region, NUL, HTTPName
	byID    table[*nsState]     // namespace id
	service table[*serviceNode] // service id

	guards   guards
	departed departed

	applied atomic.Int64
	mu      sync.Mutex // one Apply at a time
	filled  bool       // by a first Apply
}

// nsState is a namespace and the services in it.
type nsState struct {
	ns       atomic.Pointer[Namespace]
	services table[*serviceNode] // by folded name; HTTP namespaces by the very name
	zone     *Zone               // nil for HTTP
}

// serviceNode is a service and, for the writer, its working sets.
type serviceNode struct {
	view atomic.Pointer[View]

	mu        sync.RWMutex
	instances map[string]*slot  // by instance id
	folded    map[string]string // folded id -> id, only for ids that are not their own fold

	// The rest is the writer's alone.
	service Service
	sets    [states]builder
	dirty   bool
	linked  bool // found by its name
	removed bool
	ns      *nsState
	name    string // full DNS name; "" when not in DNS
}

// slot is where an instance stands in the set of its state.
type slot struct {
	inst *Instance
	pos  int
}

// View is a service as it was at one moment.
type View struct {
	Service   Service
	Namespace *Namespace
	// FullName is the service's DNS name, lower case, without trailing dot; "" when it is not in DNS.
	FullName string
	// StoreRevision is the revision that brought this view: of any change that shows, health included.
	StoreRevision int64

	sets       [states]Set
	superseded chan struct{}
}

// Superseded is closed when the service has a newer view, or is gone.
func (v *View) Superseded() <-chan struct{} { return v.superseded }

// Stale reports whether the service has a newer view, or is gone. A view that is not stale after a [Guard] was
// taken is as good as one that was found within it.
func (v *View) Stale() bool {
	select {
	case <-v.superseded:
		return true
	default:
		return false
	}
}

// In returns the instances of one state.
func (v *View) In(s State) Set { return v.sets[s] }

// Answerable returns the instances an answer chooses from: the healthy ones, or, when there are none,
// the unhealthy ones (Route 53 fails open).
func (v *View) Answerable() Set {
	if v.sets[Healthy].Len() > 0 {
		return v.sets[Healthy]
	}
	return v.sets[Unhealthy]
}

// New returns an empty directory.
func New() *Directory { return &Directory{} }

// Applied is the last revision that Apply has taken in whole.
func (d *Directory) Applied() int64 { return d.applied.Load() }

// CanonicalName is the canonical form in which names are compared: ASCII lower case (RFC 4343), no trailing dot.
func CanonicalName(name string) string {
	name = strings.TrimSuffix(name, ".")
	for i := 0; i < len(name); i++ {
		if c := name[i]; 'A' <= c && c <= 'Z' {
			b := []byte(name)
			for ; i < len(b); i++ {
				if 'A' <= b[i] && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return name
}

// Discover finds a service as DiscoverInstances names it. The namespace is found when ns is not nil; the
// exact name comes first, then, in DNS namespaces, one that differs in case only.
func (d *Directory) Discover(region, namespace, service string) (ns *Namespace, v *View) {
	st, ok := d.byHTTP.get(region + "\x00" + namespace)
	if !ok {
		if st, ok = d.byHTTP.get(region + "\x00" + CanonicalName(namespace)); !ok || st.zone == nil {
			return nil, nil
		}
	}
	node, ok := st.services.get(st.fold(service))
	if !ok {
		return st.ns.Load(), nil
	}
	return st.ns.Load(), node.view.Load()
}

// ServiceByID finds a service's view by its id.
func (d *Directory) ServiceByID(id string) (*View, bool) {
	node, ok := d.service.get(id)
	if !ok {
		return nil, false
	}
	v := node.view.Load() // nil while the Apply that brings the service is under way
	return v, v != nil
}

// Namespace finds a namespace by its id.
func (d *Directory) Namespace(id string) (*Namespace, bool) {
	st, ok := d.byID.get(id)
	if !ok {
		return nil, false
	}
	return st.ns.Load(), true
}

// Instance finds an instance of a service by its id, in whatever state.
func (d *Directory) Instance(serviceID, id string) (*Instance, bool) {
	node, ok := d.service.get(serviceID)
	if !ok {
		return nil, false
	}
	return node.instance(id)
}

// fold is the form in which a namespace compares the names of its services.
func (st *nsState) fold(service string) string {
	if st.zone == nil {
		return service
	}
	return CanonicalName(service)
}

func (n *serviceNode) instance(id string) (*Instance, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	s, ok := n.instances[id]
	if !ok {
		return nil, false
	}
	return s.inst, true
}

// host finds the instance whose folded id is the first part of a host name.
func (n *serviceNode) host(folded string) (*Instance, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	s, ok := n.instances[folded]
	if !ok {
		s, ok = n.instances[n.folded[folded]]
	}
	if !ok {
		return nil, false
	}
	return s.inst, true
}

// fullName is a service's DNS name, or "" when it is not in DNS.
func fullName(ns *Namespace, s *Service) string {
	switch {
	case ns.Kind == HTTP || len(s.Records) == 0:
		return ""
	case s.Name == ".":
		return CanonicalName(ns.Name)
	default:
		return CanonicalName(s.Name) + "." + CanonicalName(ns.Name)
	}
}
