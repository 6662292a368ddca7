package registry

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// The attributes that Cloud Map interprets.
const (
	AttrIPv4       = "AWS_INSTANCE_IPV4"
	AttrIPv6       = "AWS_INSTANCE_IPV6"
	AttrPort       = "AWS_INSTANCE_PORT"
	AttrCNAME      = "AWS_INSTANCE_CNAME"
	AttrAlias      = "AWS_ALIAS_DNS_NAME"
	AttrEC2        = "AWS_EC2_INSTANCE_ID"
	AttrInitHealth = "AWS_INIT_HEALTH_STATUS"
)

// AttrLease is the attribute with the lease of a registration, in seconds from 1 to MaxLease. An instance is
// deregistered when its lease has not been renewed for that time. AWS has no such attribute, and does not reserve its
// prefix.
const (
	AttrLease = "ROLLCALL_LEASE_SECONDS"
	MaxLease  = 7 * 24 * 60 * 60
)

// The largest number of custom attributes, and the largest sum of characters (Cloud Map quotas).
const (
	MaxCustomAttributes = 30
	MaxAttributeTotal   = 5000
)

// checkAttributes checks the attributes of a registration.
func checkAttributes(ns *Namespace, svc *Service, a map[string]string) error {
	if err := checkAttributeSizes(a); err != nil {
		return err
	}
	if err := checkAttributeValues(svc, a); err != nil {
		return err
	}
	if _, ec2 := a[AttrEC2]; ec2 {
		if ns.Kind != HTTP {
			return invalid("%s is supported in HTTP namespaces only", AttrEC2)
		}
		for k := range a {
			if k != AttrEC2 && k != AttrInitHealth {
				return invalid("%s cannot be combined with the attribute %s", AttrEC2, k)
			}
		}
	}
	if _, alias := a[AttrAlias]; alias && len(svc.Records) > 0 {
		return checkAlias(svc, a)
	}
	return checkRequired(svc, a)
}

// checkRequired checks for the attributes that the service's records and health check need.
func checkRequired(svc *Service, a map[string]string) error {
	has := func(k string) bool { _, ok := a[k]; return ok }
	for _, r := range []struct {
		needed bool
		key    string
	}{
		{svc.Has(A), AttrIPv4},
		{svc.Has(AAAA), AttrIPv6},
		{svc.Has(CNAME), AttrCNAME},
		{svc.Has(SRV) || svc.HealthCheck != nil, AttrPort},
	} {
		if r.needed && !has(r.key) {
			return invalid("The attribute %s is required for an instance of service %s", r.key, svc.ID)
		}
	}
	if (svc.Has(SRV) || svc.HealthCheck != nil) && !has(AttrIPv4) && !has(AttrIPv6) {
		return invalid("One of the attributes %s and %s is required for an instance of service %s", AttrIPv4, AttrIPv6,
			svc.ID)
	}
	return nil
}

func checkAttributeSizes(a map[string]string) error {
	custom, total := 0, 0
	for k, v := range a {
		if !strings.HasPrefix(k, "AWS_") {
			custom++
		}
		total += len(k) + len(v)
	}
	if custom > MaxCustomAttributes {
		return invalid("An instance can have up to %d custom attributes; %d were given", MaxCustomAttributes, custom)
	}
	if total > MaxAttributeTotal {
		return invalid("The keys and values of an instance's attributes can have up to %d characters in all; they have %d",
			MaxAttributeTotal, total)
	}
	return nil
}

// checkAttributeValues checks the values of the attributes that Cloud Map interprets, in this order.
func checkAttributeValues(svc *Service, a map[string]string) error {
	for _, rule := range []struct {
		key     string
		valid   func(value string) bool
		problem string
	}{
		{AttrIPv4, isIPv4, "is not an IPv4 address"},
		{AttrIPv6, isIPv6, "is not an IPv6 address"},
		{AttrPort, isPort, "is not a port from 1 to 65535"},
		{AttrCNAME, func(v string) bool { return !svc.Has(CNAME) || isDomainName(v) }, "is not a domain name"},
		{AttrLease, isLease, fmt.Sprintf("must be a whole number of seconds between 1 and %d", MaxLease)},
		{AttrInitHealth, func(v string) bool {
			return !svc.CustomHealth || Health(v) == Healthy || Health(v) == Unhealthy
		}, "is neither HEALTHY nor UNHEALTHY"},
	} {
		if v, ok := a[rule.key]; ok && !rule.valid(v) {
			return invalid("%s: %q %s", rule.key, v, rule.problem)
		}
	}
	return nil
}

func isIPv4(v string) bool {
	ip, err := netip.ParseAddr(v)
	return err == nil && ip.Is4()
}

func isIPv6(v string) bool {
	ip, err := netip.ParseAddr(v)
	return err == nil && ip.Is6() && ip.Zone() == ""
}

func isPort(v string) bool {
	n, err := strconv.ParseUint(v, 10, 16)
	return err == nil && n > 0
}

func isLease(v string) bool {
	n, err := strconv.Atoi(v)
	return err == nil && n >= 1 && n <= MaxLease
}

// checkAlias checks that the service is WEIGHTED and has only A and AAAA records, and that no address is given with the
// alias.
func checkAlias(svc *Service, a map[string]string) error {
	switch {
	case svc.Policy != Weighted:
		return invalid("ALIAS instance can be registered only in services with WEIGHTED routing policy")
	case svc.Has(SRV) || svc.Has(CNAME):
		return invalid("ALIAS instance can be registered only in services with A and AAAA records")
	case !isDomainName(a[AttrAlias]):
		return invalid("%s: %q is not a domain name", AttrAlias, a[AttrAlias])
	}
	for _, k := range slices.Sorted(maps.Keys(a)) {
		if strings.HasPrefix(k, "AWS_INSTANCE_") {
			return invalid("%s cannot be combined with the attribute %s", AttrAlias, k)
		}
	}
	return nil
}

// isDomainName reports whether the labels of a name have valid lengths (RFC 1035, 2.3.4). It rejects a backslash, which
// begins an escape in the text of a name (RFC 1035, 5.1) and is in no answer, and does not check other characters.
func isDomainName(name string) bool {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.ContainsAny(label, " \t\\") {
			return false
		}
	}
	return true
}
