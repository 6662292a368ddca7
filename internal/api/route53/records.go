package route53

import (
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/dns/answer"
	"github.com/bakingclouds/rollcall/internal/registry"
)

const (
	maxRecordSets = 300 // on a page
	// apexTTL is the TTL in seconds of the NS records at a zone's apex, in Route 53 and in dns/answer.
	apexTTL = 172800
)

// recordSet is a name, a type and their values. The members have AWS's order.
type recordSet struct {
	Name             string
	Type             string
	SetIdentifier    string   `xml:",omitempty"`
	Weight           int      `xml:",omitempty"` // 1, or absent: Cloud Map gives all instances the same weight
	MultiValueAnswer bool     `xml:",omitempty"`
	TTL              uint32   // in seconds; never omitted, because 0 is valid
	ResourceRecords  []record `xml:"ResourceRecords>ResourceRecord"`
	HealthCheckID    string   `xml:"HealthCheckId,omitempty"`
}

type record struct{ Value string }

func newRecordSet(name, typ string, ttl uint32, values ...string) recordSet {
	s := recordSet{Name: formatName(name), Type: typ, TTL: ttl}
	for _, v := range values {
		s.ResourceRecords = append(s.ResourceRecords, record{v})
	}
	return s
}

// instanceRecordSet returns an instance's record set of a type at the name of its service. ok is false if the instance
// has no such record.
func instanceRecordSet(v *directory.View, typ string, i *directory.Instance) (s recordSet, ok bool) {
	t := recordTypes[typ]
	if !hasRecord(t, i) {
		return recordSet{}, false
	}
	ttl, _ := v.Service.TTL(t)
	s = newRecordSet(v.FullName, typ, ttl, recordValue(v, t, i))
	s.SetIdentifier = i.ID
	if v.Service.Policy == directory.Weighted {
		s.Weight = 1
	} else {
		s.MultiValueAnswer = true
	}
	if v.Service.HealthChecked {
		s.HealthCheckID = healthCheckID(i)
	}
	return s, true
}

// hostRecordSet returns the record set of an instance's own name, the target of its SRV record. It has no health check,
// because DNS answers it regardless of the instance's health.
func hostRecordSet(v *directory.View, typ string, i *directory.Instance) (s recordSet, ok bool) {
	t := recordTypes[typ]
	if !hasRecord(t, i) {
		return recordSet{}, false
	}
	ttl, _ := v.Service.TTL(directory.SRV)
	return newRecordSet(v.HostName(i), typ, ttl, recordValue(v, t, i)), true
}

var recordTypes = map[string]directory.RecordType{
	"A": directory.A, "AAAA": directory.AAAA, "CNAME": directory.CNAME, "SRV": directory.SRV,
}

func hasRecord(t directory.RecordType, i *directory.Instance) bool {
	switch t {
	case directory.A:
		return i.IPv4.IsValid()
	case directory.AAAA:
		return i.IPv6.IsValid()
	case directory.CNAME:
		return i.CNAME != ""
	}
	return true
}

func recordValue(v *directory.View, t directory.RecordType, i *directory.Instance) string {
	switch t {
	case directory.A:
		return i.IPv4.String()
	case directory.AAAA:
		return i.IPv6.String()
	case directory.CNAME:
		return i.CNAME
	}
	return srv(i.Port, v.HostName(i))
}

func srv(port uint16, host string) string {
	return fmt.Sprintf("%d %d %d %s", answer.SRVPriority, answer.SRVWeight, port, formatName(host))
}

// healthCheckID returns the same UUID for an instance at every call, so it need not be stored.
func healthCheckID(i *directory.Instance) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte(i.ServiceID+"/"+i.ID)).String()
}

// apex returns a record set at the apex of a zone. typ is NS or SOA.
func (a *API) apex(ns *registry.Namespace, typ string) recordSet {
	name := directory.CanonicalName(ns.Name)
	if typ == "SOA" {
		return newRecordSet(name, typ, ns.NegativeTTL(), a.soa(ns.NegativeTTL()))
	}
	var servers []string
	for _, server := range a.nameServers() {
		servers = append(servers, formatName(server))
	}
	return newRecordSet(name, typ, apexTTL, servers...)
}

func (a *API) nameServers() []string {
	if len(a.dns.NameServers) > 0 {
		return a.dns.NameServers
	}
	return []string{answer.DefaultNameServer}
}

// soa returns the value of a SOA record. Its TTL and its minimum limit how long negative answers are cached (RFC 2308,
// section 5).
func (a *API) soa(ttl uint32) string {
	primary := a.nameServers()[0]
	_, domain, _ := strings.Cut(primary, ".")
	return fmt.Sprintf("%s hostmaster.%s %d %d %d %d %d", formatName(primary), formatName(domain),
		answer.SOASerial, answer.SOARefresh, answer.SOARetry, answer.SOAExpire, ttl)
}

type listResourceRecordSetsOutput struct {
	ResourceRecordSets struct {
		ResourceRecordSet []recordSet
	}
	IsTruncated          bool
	NextRecordName       string `xml:",omitempty"`
	NextRecordType       string `xml:",omitempty"`
	NextRecordIdentifier string `xml:",omitempty"`
	MaxItems             int
}

// listResourceRecordSets returns the record sets from a position, which need not exist.
func (a *API) listResourceRecordSets(r request) (any, error) {
	max, err := r.maxItems(maxRecordSets)
	if err != nil {
		return nil, err
	}
	from, err := r.position()
	if err != nil {
		return nil, err
	}
	snapshot := a.db.Snapshot()
	ns, err := r.zone(snapshot, r.path[0])
	if err != nil {
		return nil, err
	}
	out := listResourceRecordSetsOutput{MaxItems: max}
	sets := &out.ResourceRecordSets.ResourceRecordSet
	a.walk(snapshot, ns, from, func(s recordSet) bool {
		if len(*sets) == max {
			out.IsTruncated = true
			out.NextRecordName, out.NextRecordType, out.NextRecordIdentifier = s.Name, s.Type, s.SetIdentifier
			return false
		}
		*sets = append(*sets, s)
		return true
	})
	return out, nil
}

// position returns the start of a list of record sets.
func (r request) position() (position, error) {
	name, typ, id := r.query.Get("name"), r.query.Get("type"), r.query.Get("identifier")
	switch {
	case typ != "" && name == "":
		return position{}, invalid("StartRecordType requires a StartRecordName")
	case id != "" && (typ == "" || name == ""):
		return position{}, invalid("StartRecordIdentifier requires a StartRecordName and a StartRecordType")
	case typ != "" && typeNumbers[typ] == 0:
		return position{}, invalid("StartRecordType %.100q is not a record type", typ)
	}
	folded, err := parseName(name)
	return position{folded, typ, id}, err
}
