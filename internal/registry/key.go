package registry

import (
	"strings"

	"github.com/bakingclouds/rollcall/internal/arn"
)

// InstanceRef names an instance of a service.
type InstanceRef struct {
	arn.Scope
	ServiceID string
	ID        string
}

// Key returns the key of the instance's row.
func (i InstanceRef) Key() string { return i.Scope.Key(i.ServiceID, escape(i.ID)) }

// Ref returns the reference of the instance.
func (i *Instance) Ref() InstanceRef {
	return InstanceRef{arn.Scope{Account: i.Account, Region: i.Region}, i.ServiceID, i.ID}
}

// escape escapes an id that is a part of a key, so that "/" separates parts only.
func escape(id string) string {
	if !strings.ContainsAny(id, "/%") {
		return id
	}
	return strings.ReplaceAll(strings.ReplaceAll(id, "%", "%25"), "/", "%2F")
}

func namespaceKey(sc arn.Scope, id string) string { return sc.Key(id) }

// serviceKey returns the key of a service's row and of its revision row. The keys of its instances begin with it.
func serviceKey(sc arn.Scope, id string) string { return sc.Key(id) }

func tokenKey(sc arn.Scope, creator string) string { return sc.Key("namespace", creator) }

// The keys of claims: each begins with the region and the kind of name.

// serviceClaim returns the claim of a service's name in a namespace. With no name, it is the prefix of them all.
func serviceClaim(sc arn.Scope, namespace, name string) string {
	return sc.Key("service", namespace, name)
}

// hostClaim returns the claim by which an instance is found whose id has upper-case letters. All other instances are
// found by their rows.
func hostClaim(sc arn.Scope, service, folded string) string {
	return sc.Key("host", service, escape(folded))
}

// claim returns the claim that keeps a second namespace of the same kind from having the name: HTTP and public names
// are unique in a region, private ones in a VPC.
func (n *Namespace) claim() string {
	switch sc, zone := n.Scope(), fold(strings.TrimSuffix(n.Name, ".")); n.Kind {
	case HTTP:
		return sc.Key("http-namespace", n.Name)
	case Private:
		return sc.Key("private-zone", escape(n.VPC), zone)
	default:
		return sc.Key("public-zone", zone)
	}
}

// httpNameClaim returns the claim of the name that DiscoverInstances uses.
func (n *Namespace) httpNameClaim() string { return n.Scope().Key("http-name", n.HTTPName) }
