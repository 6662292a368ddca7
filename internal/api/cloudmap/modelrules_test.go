package cloudmap_test

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/bakingclouds/rollcall/internal/registry"
)

// model is Cloud Map as its documentation describes it, in plain maps, with each rule applied by looking at all
// resources. Its methods return the result that a call must have, before the call is made: "" for success, the code of
// an error, or "FAIL" and the code of an operation that fails. model_test.go makes the calls.
type model struct {
	namespaces []*modelNamespace // oldest first
	services   []*modelService   // oldest first
	known      map[string]bool   // see names
}

type modelNamespace struct {
	id, name, vpc, httpName, description string
	kind                                 types.NamespaceType
	soa                                  *int64
	tags                                 map[string]string
}

type modelService struct {
	id, name, description string
	ns                    *modelNamespace
	records               []types.DnsRecord
	weighted              bool
	custom, probe         bool
	attributes, tags      map[string]string
	instances             map[string]*modelInstance
	revision              int64 // the last one seen
	registered            bool  // whether an instance was registered or deregistered since then
}

type modelInstance struct {
	attributes       map[string]string
	token, operation string
	healthy          bool
	ready            bool // has been healthy once
}

func (n *modelNamespace) dns() bool    { return n.kind != types.NamespaceTypeHttp }
func (n *modelNamespace) zone() string { return strings.ToLower(n.name) }

func (s *modelService) ttl(t string) (int64, bool) {
	for _, r := range s.records {
		if string(r.Type) == t {
			return *r.TTL, true
		}
	}
	return 0, false
}

func (s *modelService) has(t string) bool { _, ok := s.ttl(t); return ok }

// full returns the service's DNS name, or "" if it has none.
func (s *modelService) full() string {
	switch {
	case len(s.records) == 0:
		return ""
	case s.name == ".":
		return s.ns.zone()
	}
	return strings.ToLower(s.name) + "." + s.ns.zone()
}

// hosts returns the DNS names of the instances of a service with SRV records, by id.
func (s *modelService) hosts() map[string]string {
	names := map[string]string{}
	if s.has("SRV") {
		for id := range s.instances {
			names[id] = strings.ToLower(id) + "." + s.full()
		}
	}
	return names
}

func (m *model) in(ns *modelNamespace) (all []*modelService) {
	for _, s := range m.services {
		if s.ns == ns {
			all = append(all, s)
		}
	}
	return all
}

var (
	publicName = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	zoneName   = regexp.MustCompile(`^[^.\\]{1,63}(\.[^.\\]{1,63})*$`)
)

func (m *model) createNamespace(kind types.NamespaceType, name, vpc string) string {
	if kind == types.NamespaceTypeDnsPublic && !publicName.MatchString(strings.ToLower(name)) {
		return "InvalidInput"
	}
	if kind != types.NamespaceTypeHttp && !zoneName.MatchString(name) {
		return "FAIL CANNOT_CREATE_HOSTED_ZONE"
	}
	for _, other := range m.namespaces {
		same := other.name == name
		if kind != types.NamespaceTypeHttp {
			same = strings.EqualFold(other.name, name)
		}
		if same && other.kind == kind && (kind != types.NamespaceTypeDnsPrivate || other.vpc == vpc) {
			return "NamespaceAlreadyExists"
		}
	}
	return ""
}

// plainHTTPName reports whether a new namespace with this name has it as its HttpName.
func (m *model) plainHTTPName(name string) bool {
	return !slices.ContainsFunc(m.namespaces, func(n *modelNamespace) bool { return n.httpName == name })
}

func (m *model) deleteNamespace(ns *modelNamespace) string {
	if len(m.in(ns)) > 0 {
		return "ResourceInUse"
	}
	return ""
}

func (m *model) createService(s *modelService) string {
	types := map[string]bool{}
	for _, r := range s.records {
		types[string(r.Type)] = true
	}
	invalid := len(s.records) > 0 && !s.ns.dns() ||
		len(types) < len(s.records) ||
		types["CNAME"] && (len(types) > 1 || !s.weighted || s.probe || s.name == ".") ||
		s.probe && s.custom ||
		s.probe && s.ns.kind == "DNS_PRIVATE"
	if invalid {
		return "InvalidInput"
	}
	for _, other := range m.in(s.ns) {
		if other.name == s.name || s.ns.dns() && strings.EqualFold(other.name, s.name) {
			return "ServiceAlreadyExists"
		}
	}
	for _, other := range m.in(s.ns) {
		for _, host := range other.hosts() {
			if host == s.full() {
				return "InvalidInput" // a name cannot belong to a host and a service
			}
		}
	}
	return ""
}

func (m *model) deleteService(s *modelService) string {
	if len(s.instances) > 0 {
		return "ResourceInUse"
	}
	return ""
}

func (m *model) updateService(s *modelService, records []types.DnsRecord) string {
	kinds := func(rs []types.DnsRecord) (names []string) {
		for _, r := range rs {
			names = append(names, string(r.Type))
		}
		slices.Sort(names)
		return names
	}
	if len(records) > 0 && !slices.Equal(kinds(records), kinds(s.records)) {
		return "InvalidInput"
	}
	return ""
}

func (m *model) register(s *modelService, id string, a map[string]string) string {
	if !s.accepts(a) {
		return "InvalidInput"
	}
	if !s.has("SRV") {
		return ""
	}
	host := strings.ToLower(id) + "." + s.full()
	if !zoneName.MatchString(host) {
		return "FAIL INVALID_CHANGE_BATCH"
	}
	for _, other := range m.in(s.ns) {
		if other.full() == host {
			return "FAIL INVALID_CHANGE_BATCH"
		}
		for owner, taken := range other.hosts() {
			if taken == host && (other != s || owner != id) {
				return "FAIL INVALID_CHANGE_BATCH"
			}
		}
	}
	return ""
}

// accepts reports whether an instance with these attributes can be registered.
func (s *modelService) accepts(a map[string]string) bool {
	has := func(k string) bool { _, ok := a[k]; return ok }
	ip4, err4 := netip.ParseAddr(a[registry.AttrIPv4])
	ip6, err6 := netip.ParseAddr(a[registry.AttrIPv6])
	port, errPort := strconv.Atoi(a[registry.AttrPort])
	switch {
	case has(registry.AttrIPv4) && (err4 != nil || !ip4.Is4()),
		has(registry.AttrIPv6) && (err6 != nil || !ip6.Is6() || ip6.Zone() != ""),
		has(registry.AttrPort) && (errPort != nil || port < 1 || port > 65535),
		s.has("CNAME") && has(registry.AttrCNAME) && !zoneName.MatchString(a[registry.AttrCNAME]),
		s.custom && has(registry.AttrInitHealth) && a[registry.AttrInitHealth] != "HEALTHY" &&
			a[registry.AttrInitHealth] != "UNHEALTHY":
		return false
	}
	if has(registry.AttrEC2) {
		for k := range a {
			if k != registry.AttrEC2 && k != registry.AttrInitHealth {
				return false
			}
		}
		if s.ns.dns() {
			return false
		}
	}
	if has(registry.AttrAlias) && len(s.records) > 0 {
		for k := range a {
			if strings.HasPrefix(k, "AWS_INSTANCE_") {
				return false
			}
		}
		return s.weighted && !s.has("SRV") && !s.has("CNAME") && zoneName.MatchString(a[registry.AttrAlias])
	}
	needsPort := s.has("SRV") || s.probe
	return (!s.has("A") || has(registry.AttrIPv4)) && (!s.has("AAAA") || has(registry.AttrIPv6)) &&
		(!s.has("CNAME") || has(registry.AttrCNAME)) &&
		(!needsPort || has(registry.AttrPort) && (has(registry.AttrIPv4) || has(registry.AttrIPv6)))
}

func (m *model) setHealth(s *modelService, id string) string {
	switch {
	case !s.custom:
		return "CustomHealthNotFound"
	case s.instances[id] == nil:
		return "InstanceNotFound"
	}
	return ""
}

// status returns the status that an instance is shown with.
func (s *modelService) status(i *modelInstance) types.HealthStatus {
	switch {
	case !s.custom && !s.probe:
		return types.HealthStatusUnknown
	case i.healthy:
		return types.HealthStatusHealthy
	}
	return types.HealthStatusUnhealthy
}

// discover returns the sorted result of DiscoverInstances as "id=status".
func (s *modelService) discover(health types.HealthStatusFilter, query, optional map[string]string) []string {
	pick := func(ok func(*modelInstance) bool) (ids []string) {
		for id, i := range s.instances {
			if ok(i) && holds(i.attributes, query) {
				ids = append(ids, id)
			}
		}
		return ids
	}
	healthy := func(i *modelInstance) bool { return i.healthy }
	found := pick(healthy)
	switch {
	case !s.custom && !s.probe, health == types.HealthStatusFilterAll:
		found = pick(func(*modelInstance) bool { return true })
	case health == types.HealthStatusFilterUnhealthy:
		found = pick(func(i *modelInstance) bool { return !i.healthy })
	case health == types.HealthStatusFilterHealthyOrElseAll && len(found) == 0:
		found = pick(func(i *modelInstance) bool { return i.ready })
	}
	preferred := slices.DeleteFunc(slices.Clone(found),
		func(id string) bool { return !holds(s.instances[id].attributes, optional) })
	if len(preferred) > 0 {
		found = preferred
	}
	shown := []string{}
	for _, id := range found {
		shown = append(shown, fmt.Sprint(id, "=", s.status(s.instances[id])))
	}
	slices.Sort(shown)
	return shown
}

func holds(all, some map[string]string) bool {
	for k, v := range some {
		if got, ok := all[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// zoneOf returns the namespace that answers a name: the one with the longest name, a private one before a public one,
// then the oldest.
func (m *model) zoneOf(name string) (best *modelNamespace) {
	for _, n := range m.namespaces {
		if !n.dns() || name != n.zone() && !strings.HasSuffix(name, "."+n.zone()) {
			continue
		}
		if best == nil || len(n.zone()) > len(best.zone()) ||
			len(n.zone()) == len(best.zone()) && best.kind == "DNS_PUBLIC" && n.kind == "DNS_PRIVATE" {
			best = n
		}
	}
	return best
}

// location is the owner of a name in a zone.
type location struct {
	service *modelService
	host    *modelInstance // of service, if the name is an instance's
	exists  bool           // the name or a name below it has an owner
}

func (m *model) at(zone *modelNamespace, name string) (at location) {
	at.exists = name == zone.zone()
	for _, s := range m.in(zone) {
		if s.full() == "" {
			continue
		}
		if s.full() == name {
			return location{service: s, exists: true}
		}
		at.exists = at.exists || strings.HasSuffix(s.full(), "."+name)
		for id, host := range s.hosts() {
			if host == name {
				at = location{service: s, host: s.instances[id], exists: true}
			}
			at.exists = at.exists || strings.HasSuffix(host, "."+name)
		}
	}
	return at
}

// addressKeys are the attributes that records are made from.
var addressKeys = map[string]string{"A": registry.AttrIPv4, "AAAA": registry.AttrIPv6, "CNAME": registry.AttrCNAME,
	"SRV": registry.AttrPort}

// data returns the data of an instance's record of a type, or "" if it has none.
func (s *modelService) data(typ, id string) string {
	a := s.instances[id].attributes
	text, ok := a[addressKeys[typ]]
	switch {
	case !ok:
		return ""
	case typ == "SRV":
		return text + " " + strings.ToLower(id) + "." + s.full()
	case typ == "CNAME":
		return text
	}
	return netip.MustParseAddr(text).String()
}

// candidates returns the records of a type that an answer is chosen from, and the number of records in an answer.
func (s *modelService) candidates(typ string) (from []string, n int) {
	if !s.has(typ) {
		return nil, 0
	}
	pick := func(ok func(*modelInstance) bool) {
		for id, i := range s.instances {
			if data := s.data(typ, id); data != "" && ok(i) {
				from = append(from, data)
			}
		}
	}
	if pick(func(i *modelInstance) bool { return i.healthy }); len(from) == 0 {
		pick(func(i *modelInstance) bool { return !i.healthy && i.ready }) // none is healthy, so all are answered
	}
	slices.Sort(from)
	if n = min(8, len(from)); s.weighted {
		n = min(1, len(from))
	}
	return from, n
}

// names returns the names to query: all names that exist or have existed, the names above them up to the zone, and
// unknown names.
func (m *model) names() []string {
	add := func(name, zone string) {
		for ; len(name) >= len(zone); _, name, _ = strings.Cut(name, ".") {
			m.known[name], m.known["unknown."+name] = true, true
		}
	}
	for _, n := range m.namespaces {
		if n.dns() {
			add(n.zone(), n.zone())
		}
	}
	for _, s := range m.services {
		if s.full() == "" {
			continue
		}
		add(s.full(), s.ns.zone())
		for _, host := range s.hosts() {
			add(host, s.ns.zone())
		}
	}
	return slices.Sorted(maps.Keys(m.known))
}
