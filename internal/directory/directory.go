// Package directory is the in-memory index that DNS and DiscoverInstances answer from. It maps namespaces to services
// and services to instances, and knows whether an answer may contain an instance.
//
// Each [Directory.Apply] applies one store revision. A reader reaches a service, with its settings and its instances in
// all states, through one atomic pointer ([View]). It therefore sees the service either entirely before or entirely
// after a change, and can keep what it has seen. Names are found in sharded maps whose locks are held for one map
// operation, so no reader waits for the work of a writer.
//
// The cost of a change is proportional to the change: adding an instance to a service of 100,000 copies a few small
// nodes of a tree ([Set]), not the service.
//
// The directory tracks when the answers that contain an address expire, so that a task can be stopped exactly when no
// client may use its address any more ([Instance.MarkSent], [Directory.ExpiresAt], [Guard]).
//
// The package knows names, instances and health. It does not know the store, AWS or sockets, and it makes no random
// choices; dns/answer does.
//
// Start reading with [Directory.Apply] and [Directory.Discover]. Names in DNS are in zone.go, expiries in expiry.go.
package directory

import (
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/bakingclouds/rollcall/internal/attributes"
)

// Kind is the kind of a namespace. It determines who can find the services in it, and how.
type Kind uint8

// The kinds of namespaces in Cloud Map. HTTP namespaces are not in DNS.
const (
	HTTP Kind = iota
	Private
	Public
)

// Namespace is a group of services that find each other by name. A private or public namespace is also a DNS zone.
type Namespace struct {
	ID       string
	Region   string
	Name     string // as registered; DNS ignores its case
	HTTPName string // the name in DiscoverInstances, unique in a region
	Kind     Kind
	// Networks are the clients that may query a private namespace; empty means all clients.
	Networks []netip.Prefix
	// ExcludedNetworks are clients within Networks that may not query the namespace: those of another VPC.
	ExcludedNetworks []netip.Prefix
	// NegativeTTL is the TTL of negative answers, in seconds (RFC 2308, section 5).
	NegativeTTL uint32
	// Order decides between namespaces with the same name and overlapping networks: the one with the smallest Order,
	// which is the oldest, answers.
	Order int64
}

// RecordType is the DNS type of a service's records. The values are those of the wire format.
type RecordType uint16

// The record types of Cloud Map.
const (
	A     RecordType = 1
	CNAME RecordType = 5
	AAAA  RecordType = 28
	SRV   RecordType = 33
)

// Record is a type of records that a service has, and their TTL.
type Record struct {
	Type RecordType
	TTL  uint32 // seconds
}

// Policy is a routing policy: it determines how many instances an answer contains.
type Policy uint8

// The routing policies of Cloud Map: Multivalue answers contain up to eight instances, Weighted ones exactly one.
const (
	Multivalue Policy = iota
	Weighted
)

// Service is a Cloud Map service. A service without Records is not in DNS.
type Service struct {
	ID          string
	NamespaceID string
	Name        string // as registered; "." is the zone's apex
	Records     []Record
	Policy      Policy
	// HealthChecked means that the service has a health check configuration, so DiscoverInstances filters by health.
	HealthChecked bool
	// Revision is the InstancesRevision. It increases when an instance is registered or deregistered.
	Revision int64
	// LongestTTL is the greatest TTL, in seconds, that any record of the service has ever had.
	LongestTTL uint32
}

// DefaultDiscoverTTL is the assumed time, in seconds, for which a client uses a DiscoverInstances response about a
// service that has no DNS records and hence no TTL.
const DefaultDiscoverTTL = 5

// DiscoverTTL returns the assumed time, in seconds, for which a client uses a DiscoverInstances response. The response
// has no TTL, so this is the TTL of the service's DNS records.
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

// TTL returns the TTL of the service's records of a type, and whether it has such records.
func (s *Service) TTL(t RecordType) (uint32, bool) {
	for _, r := range s.Records {
		if r.Type == t {
			return r.TTL, true
		}
	}
	return 0, false
}

// State determines whether answers of a service may contain an instance.
type State uint8

// The states of an instance. Answers of a service contain Unhealthy instances only if no Healthy one is left, as in
// Route 53. They never contain Unready instances, which have not been healthy yet, or Draining ones. The host name of
// an instance is answered in every state.
const (
	Healthy State = iota
	Unhealthy
	Unready
	Draining
	states = 4
)

// Instance is an instance of a service: an address and port, or a CNAME. It is immutable; an update replaces it.
type Instance struct {
	ID         string
	ServiceID  string
	IPv4, IPv6 netip.Addr
	CNAME      string // without trailing dot
	Port       uint16
	State      State
	// TrackExpiry means that the directory tracks when the answers with the instance's address expire, for
	// [Directory.ExpiresAt]. It is set for the instances of tasks, which stop only after that time.
	TrackExpiry bool
	Attributes  attributes.Set

	expiry *addressExpiry // nil unless TrackExpiry is set
}

// Directory is the index. It is safe for concurrent use. Apply runs once at a time.
type Directory struct {
	zones   table[[]*Zone]      // by zone name: private before public, then the oldest first
	byHTTP  table[*nsState]     // by region, NUL, HTTPName
	byID    table[*nsState]     // by namespace id
	service table[*serviceNode] // by service id

	guards  guards
	removed removedExpiries

	applied atomic.Int64
	mu      sync.Mutex // held by Apply
	filled  bool       // Apply has been called
}

// nsState is a namespace and the services in it.
type nsState struct {
	ns       atomic.Pointer[Namespace]
	services table[*serviceNode] // by serviceKey
	zone     *Zone               // nil for an HTTP namespace
}

// serviceNode is a service: the view that readers see, and the sets from which Apply makes the next view.
type serviceNode struct {
	view atomic.Pointer[View]

	mu        sync.RWMutex
	instances map[string]*slot  // by instance id
	canonical map[string]string // from a canonical id to the id, if they differ

	// Only Apply uses the fields below.
	service Service
	sets    [states]builder
	dirty   bool
	indexed bool // readers can find the service by its name
	removed bool
	ns      *nsState
	name    string // full DNS name, "" if the service is not in DNS
}

// slot is an instance and its position in the set of its state.
type slot struct {
	inst *Instance
	pos  int
}

// View is the state of a service at one revision.
type View struct {
	Service   Service
	Namespace *Namespace
	// FullName is the service's DNS name in canonical form, "" if the service is not in DNS.
	FullName string
	// StoreRevision is the store revision of the latest change to the view, including changes of health.
	StoreRevision int64

	sets       [states]Set
	superseded chan struct{}
}

// Superseded returns a channel that is closed when the service has a newer view or has been removed.
func (v *View) Superseded() <-chan struct{} { return v.superseded }

// Stale reports whether the service has a newer view or has been removed. If a view is not stale after the
// caller has acquired a [Guard], the caller can use it as if it had looked it up under the guard.
func (v *View) Stale() bool {
	select {
	case <-v.superseded:
		return true
	default:
		return false
	}
}

// In returns the instances in a state.
func (v *View) In(s State) Set { return v.sets[s] }

// Answerable returns the instances that an answer may contain: the healthy ones or, if there are none, the unhealthy
// ones, because Route 53 fails open.
func (v *View) Answerable() Set {
	if v.sets[Healthy].Len() > 0 {
		return v.sets[Healthy]
	}
	return v.sets[Unhealthy]
}

// New returns an empty directory.
func New() *Directory { return &Directory{} }

// Applied returns the last revision that Apply has completed.
func (d *Directory) Applied() int64 { return d.applied.Load() }

// CanonicalName returns the form in which names are compared: ASCII lower case (RFC 4343) without a trailing dot.
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

// Discover finds a service by the names that DiscoverInstances uses. ns is nil if the namespace does not exist, and v
// is nil if the service does not exist. Discover prefers the exact name of a namespace; in DNS namespaces, names may
// also differ in case.
func (d *Directory) Discover(region, namespace, service string) (ns *Namespace, v *View) {
	st, ok := d.byHTTP.get(region + "\x00" + namespace)
	if !ok {
		if st, ok = d.byHTTP.get(region + "\x00" + CanonicalName(namespace)); !ok || st.zone == nil {
			return nil, nil
		}
	}
	node, ok := st.services.get(st.serviceKey(service))
	if !ok {
		return st.ns.Load(), nil
	}
	return st.ns.Load(), node.view.Load()
}

// ServiceByID returns the view of the service with an id.
func (d *Directory) ServiceByID(id string) (*View, bool) {
	node, ok := d.service.get(id)
	if !ok {
		return nil, false
	}
	v := node.view.Load() // nil while the Apply that adds the service is running
	return v, v != nil
}

// Namespace returns the namespace with an id.
func (d *Directory) Namespace(id string) (*Namespace, bool) {
	st, ok := d.byID.get(id)
	if !ok {
		return nil, false
	}
	return st.ns.Load(), true
}

// Instance returns the instance of a service with an id, in any state.
func (d *Directory) Instance(serviceID, id string) (*Instance, bool) {
	node, ok := d.service.get(serviceID)
	if !ok {
		return nil, false
	}
	return node.instance(id)
}

// serviceKey returns the form in which a namespace compares the names of its services: names in DNS ignore case, names
// in HTTP namespaces do not.
func (st *nsState) serviceKey(service string) string {
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

// instanceByCanonicalID finds the instance whose canonical id is the first part of a host name.
func (n *serviceNode) instanceByCanonicalID(id string) (*Instance, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	s, ok := n.instances[id]
	if !ok {
		s, ok = n.instances[n.canonical[id]]
	}
	if !ok {
		return nil, false
	}
	return s.inst, true
}

// fullName returns a service's DNS name, or "" if the service is not in DNS.
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
