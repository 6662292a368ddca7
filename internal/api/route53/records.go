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
	// apexTTL is that of the NS records at a zone's apex, in seconds, in Route 53 and in dns/answer.
	apexTTL = 172800
)

// recordSet is a name, a type and the values that it is answered with. The members are in the order of AWS.
type recordSet struct {
	Name             string
	Type             string
	SetIdentifier    string   `xml:",omitempty"`
	Weight           int      `xml:",omitempty"` // 1, or none: Cloud Map gives all the same
	MultiValueAnswer bool     `xml:",omitempty"`
	TTL              uint32   // seconds; 0 is one too
	ResourceRecords  []record `xml:"ResourceRecords>ResourceRecord"`
	HealthCheckID    string   `xml:"HealthCheckId,omitempty"`
}

type record struct{ Value string }

func simple(name, typ string, ttl uint32, values ...string) recordSet {
	s := recordSet{Name: written(name), Type: typ, TTL: ttl}
	for _, v := range values {
		s.ResourceRecords = append(s.ResourceRecords, record{v})
	}
	return s
}

// ofInstance is an instance's record set of a type at the name of its service; ok is false for an instance
// that has nothing to answer with.
func ofInstance(v *directory.View, typ string, i *directory.Instance) (s recordSet, ok bool) {
	t := recordTypes[typ]
	if !answerable(t, i) {
		return recordSet{}, false
	}
	ttl, _ := v.Service.TTL(t)
	s = simple(v.FullName, typ, ttl, value(v, t, i))
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

// ofHost is the record set of an instance's own name, the target of its SRV record. DNS answers it whatever
// the instance's health is, so it has no health check.
func ofHost(v *directory.View, typ string, i *directory.Instance) (s recordSet, ok bool) {
	t := recordTypes[typ]
	if !answerable(t, i) {
		return recordSet{}, false
	}
	ttl, _ := v.Service.TTL(directory.SRV)
	return simple(v.HostName(i), typ, ttl, value(v, t, i)), true
}

var recordTypes = map[string]directory.RecordType{
	"A": directory.A, "AAAA": directory.AAAA, "CNAME": directory.CNAME, "SRV": directory.SRV,
}

func answerable(t directory.RecordType, i *directory.Instance) bool {
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

func value(v *directory.View, t directory.RecordType, i *directory.Instance) string {
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
	return fmt.Sprintf("%d %d %d %s", answer.SRVPriority, answer.SRVWeight, port, written(host))
}

// healthCheckID is the same UUID at every call: nothing needs to remember it.
func healthCheckID(i *directory.Instance) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte(i.ServiceID+"/"+i.ID)).String()
}

// apex is a record set that every zone has at its top: typ is NS or SOA.
func (a *API) apex(ns *registry.Namespace, typ string) recordSet {
	name := directory.CanonicalName(ns.Name)
	if typ == "SOA" {
		return simple(name, typ, ns.NegativeTTL(), a.soa(ns.NegativeTTL()))
	}
	var servers []string
	for _, server := range a.nameServers() {
		servers = append(servers, written(server))
	}
	return simple(name, typ, apexTTL, servers...)
}

func (a *API) nameServers() []string {
	if len(a.dns.NameServers) > 0 {
		return a.dns.NameServers
	}
	return []string{answer.DefaultNameServer}
}

// soa is a SOA record's value: negative answers live as long as its TTL and its minimum say (RFC 2308, section 5).
func (a *API) soa(ttl uint32) string {
	primary := a.nameServers()[0]
	_, domain, _ := strings.Cut(primary, ".")
	return fmt.Sprintf("%s hostmaster.%s %d %d %d %d %d", written(primary), written(domain),
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

// listResourceRecordSets shows the record sets from a position on, which need not be one's.
func (a *API) listResourceRecordSets(r request) (any, error) {
	max, err := r.maxItems(maxRecordSets)
	if err != nil {
		return nil, err
	}
	from, err := r.position()
	if err != nil {
		return nil, err
	}
	now := a.db.Snapshot()
	ns, err := r.zone(now, r.path[0])
	if err != nil {
		return nil, err
	}
	out := listResourceRecordSetsOutput{MaxItems: max}
	sets := &out.ResourceRecordSets.ResourceRecordSet
	a.walk(now, ns, from, func(s recordSet) bool {
		if len(*sets) == max {
			out.IsTruncated, out.NextRecordName, out.NextRecordType, out.NextRecordIdentifier = true, s.Name, s.Type, s.SetIdentifier
			return false
		}
		*sets = append(*sets, s)
		return true
	})
	return out, nil
}

// position reads where a list of record sets is to begin.
func (r request) position() (position, error) {
	name, typ, id := r.query.Get("name"), r.query.Get("type"), r.query.Get("identifier")
	switch {
	case typ != "" && name == "":
		return position{}, invalid("StartRecordType needs a StartRecordName beside it")
	case id != "" && (typ == "" || name == ""):
		return position{}, invalid("StartRecordIdentifier needs a StartRecordName and a StartRecordType beside it")
	case typ != "" && typeNumbers[typ] == 0:
		return position{}, invalid("StartRecordType %.100q is no type of record", typ)
	}
	folded, err := read(name)
	return position{folded, typ, id}, err
}
