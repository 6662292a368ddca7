package registry

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// Kind is the type of a namespace.
type Kind string

// The kinds of namespace.
const (
	HTTP    Kind = "HTTP"
	Private Kind = "DNS_PRIVATE"
	Public  Kind = "DNS_PUBLIC"
)

// Namespace groups services under a name.
type Namespace struct {
	Account, Region string
	ID              string
	Kind            Kind
	Name            string
	HTTPName        string // the name for DiscoverInstances, unique in a region; it never changes
	Description     string
	VPC             string `json:",omitempty"` // private namespaces: the VPC whose clients may query it
	ZoneID          string `json:",omitempty"` // DNS namespaces: the id of the hosted zone
	// DNS namespaces: the TTL of negative answers in seconds; nil means the default
	SOATTL  *int64 `json:",omitempty"`
	Creator string // CreatorRequestId
	Created time.Time
	Tags    map[string]string `json:",omitempty"`
}

// Scope returns the account and region of the namespace.
func (n *Namespace) Scope() arn.Scope { return arn.Scope{Account: n.Account, Region: n.Region} }

// NegativeTTL returns the TTL of negative answers in seconds.
func (n *Namespace) NegativeTTL() uint32 {
	if n.SOATTL != nil {
		return uint32(min(*n.SOATTL, 1<<31-1))
	}
	return DefaultNegativeTTL
}

// NamespaceSpec describes a namespace to create. Tokens store it as JSON.
type NamespaceSpec struct {
	Kind        Kind
	Name        string
	Description string
	VPC         string
	UnknownVPC  bool // the server has no VPC of that name
	SOATTL      *int64
	Creator     string
	Tags        map[string]string
}

// maxHTTPName is the length of the longest name that DiscoverInstances accepts, in characters.
const maxHTTPName = 1024

// CreateNamespace adds a namespace and returns the operation. A repeat of an earlier request, with the same creator
// token and content, returns the operation of that request. For a name that no zone can have, the operation has failed,
// as at AWS.
func CreateNamespace(tx *store.Tx, sc arn.Scope, spec NamespaceSpec, call Call) (*Operation, error) {
	now := call.Time
	request, _ := json.Marshal(spec) // cannot fail: strings and numbers
	token := tokenKey(sc, spec.Creator)
	if spec.Creator != "" {
		if t, ok := tokens.Find(tx, token); ok && now.Sub(t.At) < tokenLife {
			return repeatedOperation(tx, sc, t, string(request))
		}
	}
	ns := &Namespace{
		Account: sc.Account, Region: sc.Region, ID: call.namespaceID(), Kind: spec.Kind, Name: spec.Name,
		Description: spec.Description, VPC: spec.VPC, SOATTL: spec.SOATTL, Creator: spec.Creator, Created: now,
		Tags: spec.Tags,
	}
	if reason, code := zoneFault(spec); reason != "" {
		op := newOperation(sc, CreateNamespaceOp, ns.ID, Targets{Namespace: ns.ID}, call)
		op.fail("CANNOT_CREATE_HOSTED_ZONE",
			fmt.Sprintf("%s (Service: AmazonRoute53; Status Code: 400; Error Code: %s; Request ID: %s)", reason, code, op.ID))
		putOperation(tx, op)
		return op, nil
	}
	if held, ok := claims.Find(tx, ns.claim()); ok {
		e := fault.New(fault.Exists, "namespace", "A namespace with the name %q exists already: %s", ns.Name,
			held.Holder).With("NamespaceId", held.Holder)
		if other, ok := namespaces.Find(tx, namespaceKey(sc, held.Holder)); ok {
			e = e.With("CreatorRequestId", other.Creator)
		}
		return nil, e
	}
	ns.chooseHTTPName(tx, call)
	if ns.Kind != HTTP {
		ns.ZoneID = call.zoneID()
	}
	claims.Put(tx, ns.claim(), &Claim{ns.ID})
	claims.Put(tx, ns.httpNameClaim(), &Claim{ns.ID})
	namespaces.Put(tx, namespaceKey(sc, ns.ID), ns)
	op := newOperation(sc, CreateNamespaceOp, ns.ID, Targets{Namespace: ns.ID}, call)
	putOperation(tx, op)
	if spec.Creator != "" {
		tokens.Put(tx, token, &Token{Request: string(request), Operation: op.ID, At: now})
	}
	return op, nil
}

// repeatedOperation returns the operation of the request that used a creator token, or a Duplicate error if that was
// another request.
func repeatedOperation(r store.Reader, sc arn.Scope, t *Token, request string) (*Operation, error) {
	if op, ok := findOperation(r, sc, t.Operation); ok && t.Request == request {
		return op, nil
	}
	return nil, fault.New(fault.Duplicate, "request",
		"Another operation of type CreateNamespace and id %s has completed", t.Operation).
		With("DuplicateOperationId", t.Operation)
}

// chooseHTTPName sets the name for DiscoverInstances. AWS appends a hash of unknown form to a name that is taken.
func (n *Namespace) chooseHTTPName(r store.Reader, call Call) {
	n.HTTPName = n.Name
	for try := 0; ; try++ {
		if _, taken := claims.Find(r, n.httpNameClaim()); !taken {
			return
		}
		suffix := "-" + call.id(5, "http-name", strconv.Itoa(try))
		n.HTTPName = n.Name[:min(len(n.Name), maxHTTPName-len(suffix))] + suffix
	}
}

// zoneFault returns the reason why a namespace cannot have a hosted zone, and Route 53's error code for it.
func zoneFault(spec NamespaceSpec) (reason, code string) {
	if spec.UnknownVPC {
		return fmt.Sprintf("The VPC %s is not known to this server; declare it with --vpc", spec.VPC), "InvalidVPCId"
	}
	return zoneNameFault(spec), "InvalidDomainName"
}

// zoneNameFault returns the reason why a name that matches the API's pattern is not a domain name (RFC 1035, 2.3.4).
func zoneNameFault(spec NamespaceSpec) string {
	if spec.Kind == HTTP {
		return ""
	}
	name := strings.TrimSuffix(spec.Name, ".")
	if len(name)+2 > 255 {
		return fmt.Sprintf("The domain name %s is longer than 255 octets", spec.Name)
	}
	if strings.Contains(name, `\`) { // it would begin an escape (RFC 1035, 5.1)
		return fmt.Sprintf("The domain name %s has a backslash", spec.Name)
	}
	for label := range strings.SplitSeq(name, ".") {
		if len(label) == 0 || len(label) > 63 {
			return fmt.Sprintf("The domain name %s has a label of %d octets; a label has 1 to 63", spec.Name, len(label))
		}
	}
	return ""
}

// DeleteNamespace deletes a namespace without services and returns the operation.
func DeleteNamespace(tx *store.Tx, sc arn.Scope, id string, call Call) (*Operation, error) {
	ns, err := GetNamespace(tx, sc, id)
	if err != nil {
		return nil, err
	}
	if !claims.Empty(tx, serviceClaim(sc, id, "")) {
		return nil, fault.New(fault.InUse, "namespace",
			"Namespace has associated services; delete the services before deleting the namespace")
	}
	claims.Delete(tx, ns.claim())
	claims.Delete(tx, ns.httpNameClaim())
	namespaces.Delete(tx, namespaceKey(sc, id))
	if ns.Creator != "" {
		tokens.Delete(tx, tokenKey(sc, ns.Creator))
	}
	op := newOperation(sc, DeleteNamespaceOp, id, Targets{Namespace: id}, call)
	putOperation(tx, op)
	return op, nil
}

// NamespaceChange describes an update of a namespace. Nil fields do not change.
type NamespaceChange struct {
	Description *string
	SOATTL      *int64
}

// UpdateNamespace changes a namespace of a kind and returns the operation.
func UpdateNamespace(tx *store.Tx, sc arn.Scope, id string, kind Kind, change NamespaceChange, call Call) (*Operation,
	error) {
	old, err := GetNamespace(tx, sc, id)
	if err != nil {
		return nil, err
	}
	if old.Kind != kind {
		return nil, invalid("Namespace %s is of type %s; use the operation for that type to update it", id, old.Kind)
	}
	ns := *old
	if change.Description != nil {
		ns.Description = *change.Description
	}
	if change.SOATTL != nil {
		ns.SOATTL = change.SOATTL
	}
	namespaces.Put(tx, namespaceKey(sc, id), &ns)
	op := newOperation(sc, UpdateNamespaceOp, id, Targets{Namespace: id}, call)
	putOperation(tx, op)
	return op, nil
}

// FindNamespaceByName returns the namespace with a name if there is exactly one. It ignores case in DNS names. It
// serves clients that pass the name of a namespace where the API expects its HttpName.
func FindNamespaceByName(r store.Reader, sc arn.Scope, name string) (*Namespace, bool) {
	var found []*Namespace
	namespacesByName.Scan(r, sc.Key(fold(name)), func(_ string, ns *Namespace) bool {
		if ns.Kind != HTTP || ns.Name == name {
			found = append(found, ns)
		}
		return len(found) < 2
	})
	if len(found) != 1 {
		return nil, false
	}
	return found[0], true
}

// GetNamespace returns the namespace with an id, or a NotFound error.
func GetNamespace(r store.Reader, sc arn.Scope, id string) (*Namespace, error) {
	ns, ok := namespaces.Find(r, namespaceKey(sc, id))
	if !ok {
		return nil, fault.New(fault.NotFound, "namespace", "Failed to find namespace: %s", id)
	}
	return ns, nil
}

// ScanNamespaces calls fn with the namespaces of a region whose ids are greater than after, in the order of their ids,
// until fn returns false.
func ScanNamespaces(r store.Reader, sc arn.Scope, after string, fn func(*Namespace) bool) {
	if after != "" {
		after = namespaceKey(sc, after)
	}
	namespaces.Scan(r, sc.Prefix(), after, func(_ string, ns *Namespace) bool { return fn(ns) })
}

// ScanAllNamespaces calls fn with the namespaces of all regions, ordered by region and id, until fn returns false.
func ScanAllNamespaces(r store.Reader, fn func(*Namespace) bool) {
	namespaces.Scan(r, "", "", func(_ string, ns *Namespace) bool { return fn(ns) })
}

// ServiceCount returns the number of services in a namespace.
func ServiceCount(r store.Reader, sc arn.Scope, namespace string) int {
	return claims.Count(r, strings.TrimSuffix(serviceClaim(sc, namespace, ""), "/"))
}
