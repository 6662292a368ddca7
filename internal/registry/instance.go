package registry

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// The attributes that mean something to Cloud Map.
const (
	AttrIPv4       = "AWS_INSTANCE_IPV4"
	AttrIPv6       = "AWS_INSTANCE_IPV6"
	AttrPort       = "AWS_INSTANCE_PORT"
	AttrCNAME      = "AWS_INSTANCE_CNAME"
	AttrAlias      = "AWS_ALIAS_DNS_NAME"
	AttrEC2        = "AWS_EC2_INSTANCE_ID"
	AttrInitHealth = "AWS_INIT_HEALTH_STATUS"
)

// Limits of attributes, in characters and pieces (Cloud Map quotas).
const (
	MaxCustomAttributes = 30
	MaxAttributeTotal   = 5000
)

// Health is the verdict on an instance.
type Health string

// The verdicts.
const (
	Healthy   Health = "HEALTHY"
	Unhealthy Health = "UNHEALTHY"
)

// Instance is one address (and port) that answers for a service.
type Instance struct {
	Account, Region string
	ServiceID       string
	ID              string
	Attributes      map[string]string
	Health          Health
	// Unready instances have never been healthy: they are in no answer, not even when all are unhealthy.
	Unready bool `json:",omitempty"`
	// Draining instances are about to leave: they are in no answer any more.
	Draining  bool   `json:",omitempty"`
	Creator   string `json:",omitempty"`
	Operation string // that registered it
	Created   time.Time
}

// InstanceSpec is a registration.
type InstanceSpec struct {
	ServiceID  string
	ID         string
	Attributes map[string]string
	Creator    string
	// Unready keeps the instance out of every answer until its first healthy verdict, whatever health
	// configuration the service has: a task whose health check has not passed yet.
	Unready bool
}

func instanceKey(sc Scope, service, id string) string {
	return sc.Region + "/" + service + "/" + escape(id)
}

// escape keeps "/" a separator of key parts.
func escape(id string) string {
	if !strings.ContainsAny(id, "/%") {
		return id
	}
	return strings.ReplaceAll(strings.ReplaceAll(id, "%", "%25"), "/", "%2F")
}

// RegisterInstance adds an instance or replaces the one of its id, whole, and returns the operation that
// did. A repeat (same creator token and attributes) changes nothing and returns the first operation.
func RegisterInstance(tx *store.Tx, sc Scope, spec InstanceSpec, now time.Time) (*Operation, error) {
	svc, err := GetService(tx, sc, spec.ServiceID)
	if err != nil {
		return nil, err
	}
	ns, err := GetNamespace(tx, sc, svc.NamespaceID)
	if err != nil {
		return nil, err
	}
	if err := checkAttributes(ns, svc, spec.Attributes); err != nil {
		return nil, err
	}
	key := instanceKey(sc, svc.ID, spec.ID)
	old, exists := instances.Find(tx, key)
	if exists && spec.Creator != "" && old.Creator == spec.Creator && maps.Equal(old.Attributes, spec.Attributes) {
		if op, ok := findOperation(tx, sc, old.Operation); ok {
			return op, nil
		}
	}
	op := newOperation(sc, RegisterInstanceOp, ns.ID, Targets{Service: svc.ID, Instance: spec.ID}, now)
	if reason := nameFault(tx, sc, ns, svc, spec.ID); reason != "" {
		op.fail("INVALID_CHANGE_BATCH", reason)
		putOperation(tx, op)
		return op, nil
	}
	i := &Instance{
		Account: sc.Account, Region: sc.Region, ServiceID: svc.ID, ID: spec.ID, Attributes: spec.Attributes,
		Health: Healthy, Creator: spec.Creator, Operation: op.ID, Created: now,
	}
	if exists {
		i.Created = old.Created
	}
	if spec.Unready || svc.CustomHealth && Health(spec.Attributes[AttrInitHealth]) == Unhealthy {
		i.Health, i.Unready = Unhealthy, true
	}
	instances.Put(tx, key, i)
	claimHost(tx, sc, svc, spec.ID)
	revisions.Put(tx, sc.Region+"/"+svc.ID, &Revision{})
	putOperation(tx, op)
	return op, nil
}

// DeregisterInstance removes an instance and returns the operation that did.
func DeregisterInstance(tx *store.Tx, sc Scope, service, id string, now time.Time) (*Operation, error) {
	svc, err := GetService(tx, sc, service)
	if err != nil {
		return nil, err
	}
	key := instanceKey(sc, service, id)
	if _, ok := instances.Find(tx, key); !ok {
		return nil, instanceNotFound(id)
	}
	op := newOperation(sc, DeregisterInstanceOp, svc.NamespaceID, Targets{Service: service, Instance: id}, now)
	instances.Delete(tx, key)
	releaseHost(tx, sc, svc, id)
	revisions.Put(tx, sc.Region+"/"+service, &Revision{})
	putOperation(tx, op)
	return op, nil
}

func instanceNotFound(id string) error {
	return fault.New(fault.NotFound, "instance", "Failed to find instance: %s", id)
}

// GetInstance finds an instance.
func GetInstance(r store.Reader, sc Scope, service, id string) (*Instance, error) {
	if _, err := GetService(r, sc, service); err != nil {
		return nil, err
	}
	i, ok := instances.Find(r, instanceKey(sc, service, id))
	if !ok {
		return nil, instanceNotFound(id)
	}
	return i, nil
}

// ScanInstances calls fn with a service's instances behind the id after, in the order of their keys.
func ScanInstances(r store.Reader, sc Scope, service, after string, fn func(*Instance) bool) {
	if after != "" {
		after = instanceKey(sc, service, after)
	}
	instances.Scan(r, sc.Region+"/"+service+"/", after, func(_ string, i *Instance) bool { return fn(i) })
}

// SetCustomHealth is UpdateInstanceCustomHealthStatus: it needs a service with custom health.
func SetCustomHealth(tx *store.Tx, sc Scope, service, id string, h Health) error {
	svc, err := GetService(tx, sc, service)
	if err != nil {
		return err
	}
	if !svc.CustomHealth {
		return fault.New(fault.NotFound, "custom health", "Service %s has no HealthCheckCustomConfig", service)
	}
	return SetHealth(tx, sc, service, id, h)
}

// SetHealth records the verdict on an instance; the first healthy one makes it ready for good.
func SetHealth(tx *store.Tx, sc Scope, service, id string, h Health) error {
	return change(tx, sc, service, id, func(i *Instance) {
		i.Health = h
		i.Unready = i.Unready && h != Healthy
	})
}

// Drain takes an instance out of the answers while its row remains.
func Drain(tx *store.Tx, sc Scope, service, id string) error {
	return change(tx, sc, service, id, func(i *Instance) { i.Draining = true })
}

func change(tx *store.Tx, sc Scope, service, id string, do func(*Instance)) error {
	key := instanceKey(sc, service, id)
	old, ok := instances.Find(tx, key)
	if !ok {
		return instanceNotFound(id)
	}
	i := *old
	do(&i)
	if i.Health != old.Health || i.Unready != old.Unready || i.Draining != old.Draining {
		instances.Put(tx, key, &i)
	}
	return nil
}

// checkAttributes applies the rules of RegisterInstance's attributes.
func checkAttributes(ns *Namespace, svc *Service, a map[string]string) error {
	if err := checkAttributeSizes(a); err != nil {
		return err
	}
	if err := checkAttributeValues(svc, a); err != nil {
		return err
	}
	if _, alias := a[AttrAlias]; alias && len(svc.Records) > 0 {
		return checkAlias(svc, a)
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
	return checkRequired(svc, a)
}

// checkRequired wants what the service's records and health check are made from.
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
		return invalid("One of the attributes %s and %s is required for an instance of service %s", AttrIPv4, AttrIPv6, svc.ID)
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
		return invalid("The keys and values of an instance's attributes can have up to %d characters in all; they have %d", MaxAttributeTotal, total)
	}
	return nil
}

func checkAttributeValues(svc *Service, a map[string]string) error {
	if v, ok := a[AttrIPv4]; ok {
		if ip, err := netip.ParseAddr(v); err != nil || !ip.Is4() {
			return invalid("%s: %q is not an IPv4 address", AttrIPv4, v)
		}
	}
	if v, ok := a[AttrIPv6]; ok {
		if ip, err := netip.ParseAddr(v); err != nil || !ip.Is6() || ip.Zone() != "" {
			return invalid("%s: %q is not an IPv6 address", AttrIPv6, v)
		}
	}
	if v, ok := a[AttrPort]; ok {
		if n, err := strconv.ParseUint(v, 10, 16); err != nil || n == 0 {
			return invalid("%s: %q is not a port from 1 to 65535", AttrPort, v)
		}
	}
	if v, ok := a[AttrCNAME]; ok && svc.Has(CNAME) && !isDomainName(v) {
		return invalid("%s: %q is not a domain name", AttrCNAME, v)
	}
	if v, ok := a[AttrInitHealth]; ok && svc.CustomHealth && Health(v) != Healthy && Health(v) != Unhealthy {
		return invalid("%s: %q is neither HEALTHY nor UNHEALTHY", AttrInitHealth, v)
	}
	return nil
}

// checkAlias allows an alias in WEIGHTED services of A and AAAA records, and beside it no address.
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

// isDomainName reports whether a name fits RFC 1035, 2.3.4; letters are not checked.
func isDomainName(name string) bool {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.ContainsAny(label, " \t") {
			return false
		}
	}
	return true
}
