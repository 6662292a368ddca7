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

// Namespace is the boundary in which services find each other.
type Namespace struct {
	Account, Region string
	ID              string
	Kind            Kind
	Name            string
	HTTPName        string // the name DiscoverInstances uses, unique in a region, for life
	Description     string
	VPC             string `json:",omitempty"` // private: whose networks are answered
	ZoneID          string `json:",omitempty"` // DNS
	SOATTL          *int64 `json:",omitempty"` // DNS: seconds a negative answer lives; nil is the default
	Creator         string // CreatorRequestId
	Created         time.Time
	Tags            map[string]string `json:",omitempty"`
}

// Scope returns the account and region of the namespace.
func (n *Namespace) Scope() arn.Scope { return arn.Scope{Account: n.Account, Region: n.Region} }

// NegativeTTL is how long negative answers live, in seconds.
func (n *Namespace) NegativeTTL() uint32 {
	if n.SOATTL != nil {
		return uint32(min(*n.SOATTL, 1<<31-1))
	}
	return DefaultNegativeTTL
}

// NamespaceSpec is what a client asks for.
type NamespaceSpec struct {
	Kind        Kind
	Name        string
	Description string
	VPC         string
	UnknownVPC  bool // no zone can be made for VPC
	SOATTL      *int64
	Creator     string
	Tags        map[string]string
}

// maxHTTPName is the longest name that DiscoverInstances takes, in characters.
const maxHTTPName = 1024

// CreateNamespace makes a namespace and returns the operation that did. A repeat of an earlier request
// (same creator token, same content) returns that request's operation; a name that no zone can have ends
// in a failed operation, as at AWS.
func CreateNamespace(tx *store.Tx, sc arn.Scope, spec NamespaceSpec, call Call) (*Operation, error) {
	now := call.Time
	request, _ := json.Marshal(spec) // a struct of strings
	token := tokenKey(sc, spec.Creator)
	if spec.Creator != "" {
		if t, ok := tokens.Find(tx, token); ok && now.Sub(t.At) < tokenLife {
			if op, ok := findOperation(tx, sc, t.Operation); ok && t.Request == string(request) {
				return op, nil
			}
			return nil, fault.New(fault.Duplicate, "request", "Another operation of type CreateNamespace and id %s has completed", t.Operation).
				With("DuplicateOperationId", t.Operation)
		}
	}
	ns := &Namespace{
		Account: sc.Account, Region: sc.Region, ID: call.namespaceID(), Kind: spec.Kind, Name: spec.Name,
		Description: spec.Description, VPC: spec.VPC, SOATTL: spec.SOATTL, Creator: spec.Creator, Created: now, Tags: spec.Tags,
	}
	if reason, code := zoneFault(spec); reason != "" {
		op := newOperation(sc, CreateNamespaceOp, ns.ID, Targets{Namespace: ns.ID}, call)
		op.fail("CANNOT_CREATE_HOSTED_ZONE", fmt.Sprintf("%s (Service: AmazonRoute53; Status Code: 400; Error Code: %s; Request ID: %s)", reason, code, op.ID))
		putOperation(tx, op)
		return op, nil
	}
	if held, ok := claims.Find(tx, ns.claim()); ok {
		e := fault.New(fault.Exists, "namespace", "A namespace with the name %q exists already: %s", ns.Name, held.Holder).With("NamespaceId", held.Holder)
		if other, ok := namespaces.Find(tx, namespaceKey(sc, held.Holder)); ok {
			e.With("CreatorRequestId", other.Creator)
		}
		return nil, e
	}
	ns.HTTPName = ns.Name
	for n := 0; ; n++ { // AWS appends a hash of unknown form to a name that is taken
		if _, taken := claims.Find(tx, ns.httpNameClaim()); !taken {
			break
		}
		suffix := "-" + call.id(5, "http-name", strconv.Itoa(n))
		ns.HTTPName = ns.Name[:min(len(ns.Name), maxHTTPName-len(suffix))] + suffix
	}
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

// zoneFault says why a namespace can have no hosted zone, and Route 53's code for it.
func zoneFault(spec NamespaceSpec) (reason, code string) {
	if spec.UnknownVPC {
		return fmt.Sprintf("The VPC %s is not known to this server; --vpc declares the VPCs there are", spec.VPC), "InvalidVPCId"
	}
	return zoneNameFault(spec), "InvalidDomainName"
}

// zoneNameFault says why a name that passed the API's pattern still is no domain name (RFC 1035, 2.3.4).
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

// DeleteNamespace removes an empty namespace and returns the operation that did.
func DeleteNamespace(tx *store.Tx, sc arn.Scope, id string, call Call) (*Operation, error) {
	ns, err := GetNamespace(tx, sc, id)
	if err != nil {
		return nil, err
	}
	if !claims.Empty(tx, serviceClaim(sc, id, "")) {
		return nil, fault.New(fault.InUse, "namespace", "Namespace has associated services; delete the services before deleting the namespace")
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

// NamespaceChange is what can change in a namespace; nil leaves a thing as it is.
type NamespaceChange struct {
	Description *string
	SOATTL      *int64
}

// UpdateNamespace changes a namespace of the kind and returns the operation that did.
func UpdateNamespace(tx *store.Tx, sc arn.Scope, id string, kind Kind, change NamespaceChange, call Call) (*Operation, error) {
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

// FindNamespaceByName finds the one namespace that has this name, without case where it is a DNS name; none
// when several have it. Clients that take Name for HttpName mean that one.
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

// GetNamespace finds a namespace by its id.
func GetNamespace(r store.Reader, sc arn.Scope, id string) (*Namespace, error) {
	ns, ok := namespaces.Find(r, namespaceKey(sc, id))
	if !ok {
		return nil, fault.New(fault.NotFound, "namespace", "Failed to find namespace: %s", id)
	}
	return ns, nil
}

// ScanNamespaces calls fn with the region's namespaces behind the id after, in the order of their ids.
func ScanNamespaces(r store.Reader, sc arn.Scope, after string, fn func(*Namespace) bool) {
	if after != "" {
		after = namespaceKey(sc, after)
	}
	namespaces.Scan(r, sc.Prefix(), after, func(_ string, ns *Namespace) bool { return fn(ns) })
}

// ScanAllNamespaces calls fn with every namespace of every region, by region and id.
func ScanAllNamespaces(r store.Reader, fn func(*Namespace) bool) {
	namespaces.Scan(r, "", "", func(_ string, ns *Namespace) bool { return fn(ns) })
}

// ServiceCount is the number of services in a namespace.
func ServiceCount(r store.Reader, sc arn.Scope, namespace string) int {
	return claims.Count(r, strings.TrimSuffix(serviceClaim(sc, namespace, ""), "/"))
}
