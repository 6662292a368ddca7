// Package registry stores the rows of AWS Cloud Map and enforces their rules: namespaces, services, instances, and the
// operations that clients poll.
//
// Each function reads and writes in one [store.Tx], so its checks still hold when it commits: a service cannot be
// deleted while an instance is registered in it. All changes of an operation are in one commit. The operation has
// finished when the call returns, and a client that polls it sees the result immediately.
//
// A transaction function can run more than once. Ids and times therefore come in with a [Call], and every run of one
// call writes the same rows. [InstanceRef] names an instance; key.go builds the keys of all tables.
//
// registry knows the rules of names, record types, attributes and health. It does not know the wire format, DNS answers
// or tasks. Its rules come from the AWS Cloud Map API Reference. Start reading at [CreateNamespace], [CreateService]
// and [RegisterInstance].
package registry

import (
	"strings"
	"time"

	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// The tables. Their keys begin with the region, so each region is one range of keys.
var (
	namespaces = store.NewTable[Namespace]("namespace", "registry/namespace/") // region/id
	services   = store.NewTable[Service]("service", "registry/service/")       // region/id
	// region/service/instance, with the instance id escaped
	instances = store.NewTable[Instance]("instance", "registry/instance/").Counted()
	// revisions holds an empty row for each service, region/service. Every registration and deregistration writes it
	// without reading it. The revision of that write is the service's InstancesRevision, which therefore never decreases,
	// not even after the last deregistration or a restart.
	revisions  = store.NewTable[Revision]("revision", "registry/revision/")
	operations = store.NewTable[Operation]("operation", "registry/operation/") // region/milliseconds/id
	// claims make names unique: of two transactions that write the same claim, only the first commits.
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

// ServiceOfRevision returns the id of the service to which the revision row with a key belongs. It returns false for
// the keys of other rows.
func ServiceOfRevision(key string) (service string, ok bool) {
	id, ok := revisions.ID(key)
	return id[strings.LastIndexByte(id, '/')+1:], ok
}

// Claim reserves a name for a namespace, service or instance.
type Claim struct{ Holder string } // the id of the namespace, service or instance

// Token stores the request that a CreatorRequestId was used for.
type Token struct {
	Request   string // the request, to distinguish a repeat from another use of the token
	Operation string
	At        time.Time
}

// tokenLife is the time for which a repeated CreatorRequestId is recognized.
const tokenLife = 24 * time.Hour

// invalid returns the error for a request that violates a rule.
func invalid(msg string, args ...any) error { return fault.New(fault.Invalid, "input", msg, args...) }

// fold returns the form in which DNS names are compared: without case (RFC 4343).
func fold(name string) string { return strings.ToLower(name) }

// DefaultNegativeTTL is the TTL of negative answers, in seconds, in a namespace without a SOA TTL. With AWS's default
// of 900 s, a client that queries a name too early does not find it for minutes.
const DefaultNegativeTTL = 5
