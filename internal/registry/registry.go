// Package registry is the domain of Cloud Map: namespaces, the services in them, the instances that answer
// for the services, and the operations that clients poll.
//
// Its functions read and write inside one [store.Tx], so that what they decide on still holds when they
// commit: a service cannot be deleted while an instance is registered into it. Everything an operation
// changes is one commit, and the operation is finished when the call returns; what is left for a client
// that polls is to read that.
//
// registry knows the rules of names, record types, attributes and health. It does not know the wire, DNS
// answers or tasks. The facts come from the AWS Cloud Map API Reference.
package registry

import (
	"strings"
	"time"

	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// The tables. Ids begin with the region, so that a region is one range of keys.
var (
	namespaces = store.NewTable[Namespace]("namespace", "registry/namespace/") // region/id
	services   = store.NewTable[Service]("service", "registry/service/")       // region/id
	// instances: region/service/instance, the instance id escaped so that "/" stays a separator
	instances = store.NewTable[Instance]("instance", "registry/instance/").Counted()
	// revisions holds one empty row a service, region/service, put blindly at every register and
	// deregister: the revision of that write is the service's InstancesRevision, which therefore
	// never falls back, over the last deregistration and restarts too.
	revisions  = store.NewTable[Revision]("revision", "registry/revision/")
	operations = store.NewTable[Operation]("operation", "registry/operation/") // region/milliseconds/id
	// claims make names unique: the first transaction that puts one wins.
	claims = store.NewTable[Claim]("name", "registry/claim/").Counted()
	// tokens remember CreatorRequestIds of namespaces.
	tokens = store.NewTable[Token]("token", "registry/token/")

	namespacesByName = store.NewIndex(namespaces, "name", func(_ string, ns *Namespace) string {
		return ns.Scope().Key(fold(ns.Name))
	})
	servicesByNamespace = store.NewIndex(services, "namespace", func(_ string, s *Service) string {
		return namespaceKey(s.Scope(), s.NamespaceID)
	})
)

// Schema lists the tables for store.Open.
func Schema() []store.Schema {
	return []store.Schema{namespaces, services, instances, revisions, operations, claims, tokens}
}

// Revision is the row whose own revision is a service's InstancesRevision.
type Revision struct{}

// ServiceOfRevision is the id of the service whose revision row has this key, and whether it is such a row's.
func ServiceOfRevision(key string) (service string, ok bool) {
	id, ok := revisions.ID(key)
	return id[strings.LastIndexByte(id, '/')+1:], ok
}

// Claim holds a name for a namespace or service.
type Claim struct{ Holder string }

// Token remembers what a CreatorRequestId asked for.
type Token struct {
	Request   string // the request, to tell a repeat from another use of the token
	Operation string
	At        time.Time
}

// tokenLife is how long a repeated CreatorRequestId is recognised.
const tokenLife = 24 * time.Hour

// invalid is a request that breaks a rule.
func invalid(msg string, args ...any) error { return fault.New(fault.Invalid, "input", msg, args...) }

// fold compares DNS names as RFC 4343 does.
func fold(name string) string { return strings.ToLower(name) }

// DefaultNegativeTTL is how long negative answers live, in seconds, in a namespace without a SOA TTL. AWS
// lets them live 900 s, so that a client that asked too early stays blind for minutes.
const DefaultNegativeTTL = 5
