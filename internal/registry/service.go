package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// RecordType is the type of a DNS record.
type RecordType string

// The record types.
const (
	A     RecordType = "A"
	AAAA  RecordType = "AAAA"
	SRV   RecordType = "SRV"
	CNAME RecordType = "CNAME"
)

// Record describes the DNS records of one type that a service has.
type Record struct {
	Type RecordType
	TTL  int64 // in seconds
}

// The routing policies. An answer has up to eight healthy instances with Multivalue, and exactly one with Weighted.
const (
	Multivalue = "MULTIVALUE"
	Weighted   = "WEIGHTED"
)

// HealthCheck configures the health checks of Route 53 (HealthCheckConfig).
type HealthCheck struct {
	Type             string // HTTP, HTTPS, TCP
	ResourcePath     string
	FailureThreshold int32
}

// Service is a Cloud Map service: the instances of an application under one name.
type Service struct {
	Account, Region string
	ID              string
	NamespaceID     string
	Name            string
	Description     string
	Policy          string `json:",omitempty"`
	// in the order of the request; a service without records is not in DNS
	Records      []Record          `json:",omitempty"`
	HealthCheck  *HealthCheck      `json:",omitempty"`
	CustomHealth bool              `json:",omitempty"`
	Attributes   map[string]string `json:",omitempty"`
	// FormerTTL is the greatest TTL, in seconds, that records of the service had before an update lowered it. Clients may
	// still cache an answer from that time.
	FormerTTL int64 `json:",omitempty"`
	Creator   string
	Request   string `json:",omitempty"` // a digest of the request
	Created   time.Time
	Tags      map[string]string `json:",omitempty"`
}

// Scope returns the account and region of the service.
func (s *Service) Scope() arn.Scope { return arn.Scope{Account: s.Account, Region: s.Region} }

// HealthConfigured reports whether the instances have a health status by which DiscoverInstances filters.
func (s *Service) HealthConfigured() bool { return s.CustomHealth || s.HealthCheck != nil }

// Has reports whether the service has records of a type.
func (s *Service) Has(t RecordType) bool {
	return slices.ContainsFunc(s.Records, func(r Record) bool { return r.Type == t })
}

// MaxTTL returns the greatest TTL of the service's records.
func (s *Service) MaxTTL() time.Duration {
	var ttl int64
	for _, r := range s.Records {
		ttl = max(ttl, r.TTL)
	}
	return time.Duration(ttl) * time.Second
}

// LongestTTL returns the greatest TTL that the service's records have ever had.
func (s *Service) LongestTTL() time.Duration {
	return max(s.MaxTTL(), time.Duration(s.FormerTTL)*time.Second)
}

// ServiceSpec describes a service to create. Rows store its digest.
type ServiceSpec struct {
	NamespaceID  string
	Name         string
	Description  string
	APIOnly      bool // the service has the type HTTP
	HasDNS       bool // the request has a DnsConfig
	Policy       string
	Records      []Record
	HealthCheck  *HealthCheck
	CustomHealth bool
	Creator      string
	Tags         map[string]string
}

// CreateService adds a service. A repeat of the request, with the same creator token and content, returns the existing
// service.
func CreateService(tx *store.Tx, sc arn.Scope, spec ServiceSpec, call Call) (*Service, error) {
	ns, err := GetNamespace(tx, sc, spec.NamespaceID)
	if err != nil {
		return nil, err
	}
	if err := checkService(ns, &spec); err != nil {
		return nil, err
	}
	request := digest(spec)
	svc := &Service{
		Account: sc.Account, Region: sc.Region, ID: call.serviceID(), NamespaceID: ns.ID, Name: spec.Name,
		Description: spec.Description, Policy: spec.Policy, Records: spec.Records, HealthCheck: spec.HealthCheck,
		CustomHealth: spec.CustomHealth, Creator: spec.Creator, Request: request, Created: call.Time, Tags: spec.Tags,
	}
	claim := serviceClaim(sc, ns.ID, foldService(ns, svc.Name))
	if held, ok := claims.Find(tx, claim); ok {
		old, ok := services.Find(tx, serviceKey(sc, held.Holder))
		if ok && spec.Creator != "" && old.Creator == spec.Creator && old.Request == request {
			return old, nil
		}
		e := fault.New(fault.Exists, "service", "A service with the name %q exists already in namespace %s: %s", spec.Name,
			ns.ID, held.Holder).
			With("ServiceId", held.Holder)
		if ok {
			e = e.With("CreatorRequestId", old.Creator)
		}
		return nil, e
	}
	if len(svc.Records) > 0 {
		if other, ok := instanceNamed(tx, sc, ns, fold(svc.Name)); ok {
			return nil, invalid("The name %s.%s is the host name of instance %s of service %s", svc.Name, ns.Name, other.ID,
				other.ServiceID)
		}
	}
	claims.Put(tx, claim, &Claim{svc.ID})
	services.Put(tx, serviceKey(sc, svc.ID), svc)
	revisions.Put(tx, serviceKey(sc, svc.ID), &Revision{})
	return svc, nil
}

// digest returns a digest by which requests are compared.
func digest(spec ServiceSpec) string {
	b, _ := json.Marshal(spec) // cannot fail: plain data
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// checkService checks a service and fills in defaults.
func checkService(ns *Namespace, spec *ServiceSpec) error {
	if spec.HasDNS && (ns.Kind == HTTP || spec.APIOnly) && len(spec.Records) > 0 {
		return invalid("When you specify an HTTP service, you can't include a DnsConfig element.")
	}
	if spec.HasDNS && ns.Kind != HTTP && !spec.APIOnly {
		if err := checkRecords(spec); err != nil {
			return err
		}
	} else {
		spec.Policy, spec.Records = "", nil
	}
	return checkHealth(ns, spec)
}

// checkRecords checks the records and fills in the routing policy. A service has any of A, AAAA and SRV records, or
// CNAME records only, with the policy WEIGHTED.
func checkRecords(spec *ServiceSpec) error {
	if len(spec.Records) == 0 {
		return invalid("DnsConfig must contain at least one DnsRecord")
	}
	if spec.Policy == "" {
		spec.Policy = Multivalue
	}
	seen := map[RecordType]bool{}
	for _, r := range spec.Records {
		if seen[r.Type] {
			return invalid("DnsRecords contains the type %s more than once", r.Type)
		}
		seen[r.Type] = true
	}
	if !seen[CNAME] {
		return nil
	}
	switch {
	case len(seen) > 1:
		return invalid("A CNAME record cannot be combined with records of other types")
	case spec.Policy != Weighted:
		return invalid("CNAME records require the WEIGHTED routing policy")
	case spec.HealthCheck != nil:
		return invalid("HealthCheckConfig cannot be specified for a service with CNAME records")
	case spec.Name == ".":
		return invalid("A CNAME record is not possible at the apex of a zone, which has a SOA record") // RFC 1034, 3.6.2
	}
	return nil
}

func checkHealth(ns *Namespace, spec *ServiceSpec) error {
	if spec.HealthCheck == nil {
		return nil
	}
	if spec.CustomHealth {
		return invalid("Specify HealthCheckConfig or HealthCheckCustomConfig, but not both")
	}
	return checkProbe(ns, spec.HealthCheck)
}

// checkProbe checks a HealthCheckConfig and fills in defaults.
func checkProbe(ns *Namespace, h *HealthCheck) error {
	switch {
	case ns.Kind == Private:
		return invalid(
			"HealthCheckConfig is not supported for services in private DNS namespaces; use HealthCheckCustomConfig")
	case h.Type == "TCP" && h.ResourcePath != "":
		return invalid("ResourcePath cannot be specified when the health check type is TCP")
	}
	if h.Type != "TCP" && h.ResourcePath == "" {
		h.ResourcePath = "/"
	}
	if h.FailureThreshold == 0 {
		h.FailureThreshold = 1
	}
	return nil
}

// ServiceChange describes an update of a service. A nil description or nil records do not change; a nil health check is
// removed.
type ServiceChange struct {
	Description *string
	Records     []Record
	HealthCheck *HealthCheck
}

// UpdateService changes a service and returns the operation.
func UpdateService(tx *store.Tx, sc arn.Scope, id string, change ServiceChange, call Call) (*Operation, error) {
	old, err := GetService(tx, sc, id)
	if err != nil {
		return nil, err
	}
	ns, err := GetNamespace(tx, sc, old.NamespaceID)
	if err != nil {
		return nil, err
	}
	svc := *old
	if change.Description != nil {
		svc.Description = *change.Description
	}
	if len(change.Records) > 0 {
		if err := sameTypes(old.Records, change.Records); err != nil {
			return nil, err
		}
		svc.Records = change.Records
		svc.FormerTTL = int64(old.LongestTTL() / time.Second)
	}
	if h := change.HealthCheck; h != nil {
		switch {
		case old.CustomHealth:
			return nil, invalid("Specify HealthCheckConfig or HealthCheckCustomConfig, but not both")
		case old.Has(CNAME):
			return nil, invalid("HealthCheckConfig cannot be specified for a service with CNAME records")
		case old.HealthCheck != nil && old.HealthCheck.Type != h.Type:
			return nil, invalid("Type of health check cannot be changed")
		}
		if err := checkProbe(ns, h); err != nil {
			return nil, err
		}
	}
	svc.HealthCheck = change.HealthCheck
	services.Put(tx, serviceKey(sc, id), &svc)
	op := newOperation(sc, UpdateServiceOp, svc.NamespaceID, Targets{Service: id}, call)
	putOperation(tx, op)
	return op, nil
}

// sameTypes returns an error unless both lists have records of the same types, in any order.
func sameTypes(have, want []Record) error {
	types := func(rs []Record) string {
		var names []string
		for _, r := range rs {
			names = append(names, string(r.Type))
		}
		slices.Sort(names)
		return strings.Join(names, ", ")
	}
	if h, w := types(have), types(want); h != w {
		return invalid("The record types in the request must be the same as those present in the existing service. "+
			"Records in the existing service are [%s], but the records in the request are [%s].", h, w)
	}
	return nil
}

// MaxServiceAttributes is the largest number of attributes of a service (Cloud Map quotas).
const MaxServiceAttributes = 30

// PutServiceAttributes sets attributes of a service.
func PutServiceAttributes(tx *store.Tx, sc arn.Scope, id string, attributes map[string]string) error {
	return changeAttributes(tx, sc, id, func(all map[string]string) { maps.Copy(all, attributes) })
}

// DeleteServiceAttributes deletes attributes of a service. It ignores keys that the service does not have.
func DeleteServiceAttributes(tx *store.Tx, sc arn.Scope, id string, keys []string) error {
	return changeAttributes(tx, sc, id, func(all map[string]string) {
		for _, k := range keys {
			delete(all, k)
		}
	})
}

func changeAttributes(tx *store.Tx, sc arn.Scope, id string, do func(map[string]string)) error {
	old, err := GetService(tx, sc, id)
	if err != nil {
		return err
	}
	svc := *old
	svc.Attributes = map[string]string{}
	maps.Copy(svc.Attributes, old.Attributes)
	do(svc.Attributes)
	if len(svc.Attributes) > MaxServiceAttributes {
		return fault.New(fault.Limit, "service attributes",
			"A service can have up to %d attributes; service %s would have %d",
			MaxServiceAttributes, id, len(svc.Attributes))
	}
	services.Put(tx, serviceKey(sc, id), &svc)
	return nil
}

// DeleteService deletes a service without instances.
func DeleteService(tx *store.Tx, sc arn.Scope, id string) error {
	svc, err := GetService(tx, sc, id)
	if err != nil {
		return err
	}
	if !instances.Empty(tx, serviceKey(sc, id)+"/") {
		return fault.New(fault.InUse, "service",
			"Service contains registered instances; delete the instances before deleting the service")
	}
	ns, err := GetNamespace(tx, sc, svc.NamespaceID)
	if err != nil {
		return err
	}
	claims.Delete(tx, serviceClaim(sc, ns.ID, foldService(ns, svc.Name)))
	services.Delete(tx, serviceKey(sc, id))
	revisions.Delete(tx, serviceKey(sc, id))
	return nil
}

// GetService returns the service with an id, or a NotFound error.
func GetService(r store.Reader, sc arn.Scope, id string) (*Service, error) {
	svc, ok := services.Find(r, serviceKey(sc, id))
	if !ok {
		return nil, fault.New(fault.NotFound, "service", "Failed to find service: %s", id)
	}
	return svc, nil
}

// ServiceRange selects services of a region. The zero range selects all.
type ServiceRange struct {
	NamespaceID string // only the services of this namespace
	After       string // only the services whose ids are greater than this one
}

// ScanServices calls fn with the services in a range, in the order of their ids, until fn returns false.
func ScanServices(r store.Reader, sc arn.Scope, in ServiceRange, fn func(*Service) bool) {
	if in.NamespaceID != "" {
		servicesByNamespace.Scan(r, namespaceKey(sc, in.NamespaceID), func(_ string, s *Service) bool {
			return s.ID <= in.After || fn(s)
		})
		return
	}
	after := ""
	if in.After != "" {
		after = serviceKey(sc, in.After)
	}
	services.Scan(r, sc.Prefix(), after, func(_ string, s *Service) bool { return fn(s) })
}

// InstanceCount returns the number of instances that are registered in a service.
func InstanceCount(r store.Reader, sc arn.Scope, service string) int {
	return instances.Count(r, serviceKey(sc, service))
}

// foldService returns the form in which service names are compared: without case in DNS namespaces.
func foldService(ns *Namespace, name string) string {
	if ns.Kind == HTTP {
		return name
	}
	return strings.ToLower(name)
}
