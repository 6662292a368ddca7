package registry

import (
	"strings"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/store"
)

// The DNS name of a service is service.namespace. An instance of a service with SRV records also has a host name,
// instance.service.namespace, which is the target of the SRV record. All names in a namespace are different when
// compared without case (RFC 4343). The instance ids of other services are set identifiers and are in no name.

// nameFault returns the reason why an instance cannot have DNS records, and "" if it can. Route 53 would reject the
// records, and AWS reports that as a failed operation.
func nameFault(r store.Reader, sc arn.Scope, ns *Namespace, svc *Service, id string) string {
	if len(svc.Records) == 0 {
		return ""
	}
	name := svc.Name
	if svc.Has(SRV) {
		for label := range strings.SplitSeq(id, ".") {
			if len(label) == 0 || len(label) > 63 { // RFC 1035, 2.3.4
				return "The instance id " + id +
					" cannot be part of the host name that an SRV record points to: a label has 1 to 63 octets"
			}
		}
		name = hostName(svc, id)
	}
	full := strings.TrimSuffix(ns.Name, ".")
	if name != "." {
		full = name + "." + full
	}
	if len(full)+2 > 255 { // on the wire, with a length octet for the first label and one for the root (RFC 1035, 3.1)
		return "The domain name " + full + " is longer than 255 octets"
	}
	if !svc.Has(SRV) {
		return ""
	}
	if held, ok := claims.Find(r, serviceClaim(sc, ns.ID, fold(name))); ok {
		if other, ok := services.Find(r, serviceKey(sc, held.Holder)); ok && len(other.Records) > 0 {
			return "The host name " + full + " is the name of service " + other.ID
		}
	}
	if other, ok := instanceNamed(r, sc, ns, fold(name)); ok && (other.ServiceID != svc.ID || other.ID != id) {
		return "The host name " + full + " is that of instance " + other.ID + " of service " + other.ServiceID
	}
	return ""
}

// hostName returns the host name of an instance, without the name of its namespace.
func hostName(svc *Service, id string) string {
	if svc.Name == "." {
		return id
	}
	return id + "." + svc.Name
}

// instanceNamed returns the instance with a host name, which is folded and without the name of the namespace. Ids and
// service names may contain dots, so it tries every dot as the one between them.
func instanceNamed(r store.Reader, sc arn.Scope, ns *Namespace, name string) (*Instance, bool) {
	if ns.Kind == HTTP {
		return nil, false
	}
	for i := 1; i <= len(name); i++ {
		if i < len(name) && name[i] != '.' {
			continue
		}
		service := "." // the whole name is the id of an instance of the service at the apex
		if i < len(name) {
			service = name[i+1:]
		}
		held, ok := claims.Find(r, serviceClaim(sc, ns.ID, service))
		if !ok {
			continue
		}
		svc, ok := services.Find(r, serviceKey(sc, held.Holder))
		if !ok || !svc.Has(SRV) {
			continue
		}
		if inst, ok := instances.Find(r, InstanceRef{sc, svc.ID, name[:i]}.Key()); ok {
			return inst, true
		}
		if held, ok := claims.Find(r, hostClaim(sc, svc.ID, name[:i])); ok {
			if inst, ok := instances.Find(r, InstanceRef{sc, svc.ID, held.Holder}.Key()); ok {
				return inst, true
			}
		}
	}
	return nil, false
}

func claimHost(tx *store.Tx, svc *Service, id string) {
	if folded := fold(id); svc.Has(SRV) && folded != id {
		claims.Put(tx, hostClaim(svc.Scope(), svc.ID, folded), &Claim{id})
	}
}

func releaseHost(tx *store.Tx, svc *Service, id string) {
	if folded := fold(id); svc.Has(SRV) && folded != id {
		claims.Delete(tx, hostClaim(svc.Scope(), svc.ID, folded))
	}
}
