package cloudmap_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/dns/answer"
	"github.com/bakingclouds/rollcall/internal/registry"
)

// got is [apitest.Must] for sequences, which package rapid runs.
func got[O any](out *O, err error) func(*play) *O {
	return func(p *play) *O {
		p.Helper()
		if err != nil {
			p.Fatal(err)
		}
		return out
	}
}

// wantSame ends the sequence unless a value of the API is equal to the model's.
func (p *play) wantSame(what string, want, got any) {
	p.Helper()
	if d := cmp.Diff(want, got, plain); d != "" {
		p.Fatalf("%s (-model +read):\n%s", what, d)
	}
}

func (p *play) arn(kind, id string) string {
	return "arn:aws:servicediscovery:region-" + p.tag + ":" + apitest.Account + ":" + kind + "/" + id
}

func (p *play) namespace(id string) *types.Namespace {
	p.Helper()
	return got(p.sd.GetNamespace(p.w.t.Context(), &sd.GetNamespaceInput{Id: &id}))(p).Namespace
}

func (p *play) service(id string) *types.Service {
	p.Helper()
	return got(p.sd.GetService(p.w.t.Context(), &sd.GetServiceInput{Id: &id}))(p).Service
}

func (p *play) tagsOf(arn string) map[string]string {
	tags := map[string]string{}
	for _, t := range got(p.sd.ListTagsForResource(p.w.t.Context(),
		&sd.ListTagsForResourceInput{ResourceARN: &arn}))(p).Tags {
		tags[*t.Key] = *t.Value
	}
	return tags
}

func (p *play) compareNamespace(n *modelNamespace) {
	p.Helper()
	if !slices.Contains(p.namespaces, n) {
		return
	}
	ns := p.namespace(n.id)
	type facts struct {
		Name, HTTPName, Description string
		Type                        types.NamespaceType
		Services                    int32
		Zone                        bool
		SOA                         *int64
	}
	read := facts{*ns.Name, *ns.Properties.HttpProperties.HttpName, aws.ToString(ns.Description), ns.Type,
		*ns.ServiceCount, ns.Properties.DnsProperties.HostedZoneId != nil, nil}
	if soa := ns.Properties.DnsProperties.SOA; soa != nil {
		read.SOA = soa.TTL
	}
	p.wantSame("namespace", facts{n.name, n.httpName, n.description, n.kind, int32(len(p.in(n))), n.dns(), n.soa}, read)
	p.wantSame("tags of the namespace", n.tags, p.tagsOf(p.arn("namespace", n.id)))
	want, listed := []string{}, []string{}
	for _, s := range p.in(n) {
		want = append(want, s.id)
	}
	for _, s := range got(p.sd.ListServices(p.w.t.Context(), &sd.ListServicesInput{
		Filters: []types.ServiceFilter{{Name: types.ServiceFilterNameNamespaceId,
			Values: []string{n.id}}}}))(p).Services {
		listed = append(listed, *s.Id)
	}
	slices.Sort(want)
	p.wantSame("services of the namespace", want, listed)
	want, listed = []string{}, []string{}
	for _, other := range p.namespaces {
		want = append(want, other.id)
	}
	for _, ns := range got(p.sd.ListNamespaces(p.w.t.Context(), &sd.ListNamespacesInput{}))(p).Namespaces {
		listed = append(listed, *ns.Id)
	}
	slices.Sort(want)
	p.wantSame("namespaces", want, listed)
}

func (p *play) compareService(s *modelService) {
	p.Helper()
	if !slices.Contains(p.services, s) {
		return
	}
	svc := p.service(s.id)
	type facts struct {
		Name, Description string
		Type              types.ServiceType
		Weighted          bool
		Records           []types.DnsRecord
		Custom, Probe     bool
		Instances         int32
	}
	kind := types.ServiceTypeHttp
	if len(s.records) > 0 {
		kind = types.ServiceTypeDnsHttp
	}
	p.wantSame("service", facts{s.name, s.description, kind, s.weighted, s.records, s.custom, s.probe,
		int32(len(s.instances))},
		facts{*svc.Name, aws.ToString(svc.Description), svc.Type,
			svc.DnsConfig.RoutingPolicy == types.RoutingPolicyWeighted, svc.DnsConfig.DnsRecords,
			svc.HealthCheckCustomConfig != nil, svc.HealthCheckConfig != nil, *svc.InstanceCount})
	p.wantSame("tags of the service", s.tags, p.tagsOf(p.arn("service", s.id)))
	p.wantSame("attributes of the service", s.attributes, got(p.sd.GetServiceAttributes(p.w.t.Context(),
		&sd.GetServiceAttributesInput{ServiceId: &s.id}))(p).ServiceAttributes.Attributes)

	want, listed := map[string]map[string]string{}, map[string]map[string]string{}
	health := map[string]types.HealthStatus{}
	for id, i := range s.instances {
		want[id], health[id] = i.attributes, s.status(i)
	}
	for _, i := range got(p.sd.ListInstances(p.w.t.Context(),
		&sd.ListInstancesInput{ServiceId: &s.id}))(p).Instances {
		listed[*i.Id] = i.Attributes
	}
	p.wantSame("instances", want, listed)
	p.wantSame("health", health, got(p.sd.GetInstancesHealthStatus(p.w.t.Context(),
		&sd.GetInstancesHealthStatusInput{ServiceId: &s.id}))(p).Status)
	if len(s.instances) > 0 {
		id := rapid.SampledFrom(slices.Sorted(maps.Keys(s.instances))).Draw(p.T, "read")
		i := got(p.sd.GetInstance(p.w.t.Context(),
			&sd.GetInstanceInput{ServiceId: &s.id, InstanceId: &id}))(p).Instance
		p.wantSame("attributes of instance "+id, s.instances[id].attributes, i.Attributes)
		p.wantSame("token of instance "+id, s.instances[id].token, aws.ToString(i.CreatorRequestId))
	}
	p.compareDiscovery(s)
}

// compareDiscovery calls DiscoverInstances with each health filter, and with parameters.
func (p *play) compareDiscovery(s *modelService) {
	p.Helper()
	query, optional := map[string]string{}, map[string]string{}
	if rapid.Bool().Draw(p.T, "query") {
		query["color"] = "red"
	}
	if rapid.Bool().Draw(p.T, "optional") {
		optional[registry.AttrIPv4] = "10.0.0.1"
	}
	for _, filter := range append(types.HealthStatusFilterAll.Values(), "") {
		out := got(p.sd.DiscoverInstances(p.w.t.Context(), &sd.DiscoverInstancesInput{
			NamespaceName: &s.ns.httpName, ServiceName: &s.name, HealthStatus: filter,
			MaxResults: n(1000), QueryParameters: query, OptionalParameters: optional}))(p)
		found := []string{}
		for _, i := range out.Instances {
			found = append(found, fmt.Sprint(*i.InstanceId, "=", i.HealthStatus))
			p.wantSame("attributes of "+*i.InstanceId, s.instances[*i.InstanceId].attributes, i.Attributes)
		}
		slices.Sort(found)
		p.wantSame(fmt.Sprintf("discovered with %q %v %v", filter, query, optional),
			s.discover(filter, query, optional), found)
		rev := *out.InstancesRevision
		if grown := rev > s.revision; rev < s.revision || grown != s.registered {
			p.Fatalf("the revision changed from %d to %d; a registration in between: %v", s.revision, rev, s.registered)
		}
		s.revision, s.registered = rev, false
	}
}

var modelTypes = map[string]uint16{"A": 1, "AAAA": 28, "SRV": 33, "CNAME": 5, "TXT": 16}

// compareDNS queries all relevant names for all types.
func (p *play) compareDNS() {
	p.Helper()
	authority := &answer.Authority{Directory: p.w.dir}
	var r answer.Reply
	for _, name := range p.names() {
		for typ, number := range modelTypes {
			authority.Answer(answer.Query{Name: name, Type: number, Client: netip.MustParseAddr("127.0.0.1"),
				Rand: uint64(p.w.clock.Now().UnixMilli())}, &r)
			if mismatch := p.mismatch(name, typ, &r); mismatch != "" {
				p.Fatalf("%s %s: %s; the reply is %+v", name, typ, mismatch, r)
			}
		}
	}
}

// mismatch describes how a reply differs from the model, or returns "" if it does not. It follows the reply's CNAME
// records.
func (m *model) mismatch(name, typ string, r *answer.Reply) string {
	rest := r.Answer
	seen := map[string]bool{}
	for {
		zone := m.zoneOf(name)
		if zone == nil || seen[name] || len(seen) == 8 { // outside of all zones, a loop, or a chain that is too long
			return unless(len(rest) == 0 && len(r.Authority) == 0 && r.Rcode == answer.NoError &&
				r.OutsideZones == (len(seen) == 0), "no further records")
		}
		seen[name] = true
		at := m.at(zone, name)
		set := typ
		if at.service != nil && at.host == nil && at.service.has("CNAME") {
			set = "CNAME"
		}
		from, n, ttl := m.recordsAt(at, set)
		if len(rest) < n {
			return fmt.Sprintf("want %d of the records %v", n, from)
		}
		for _, rr := range rest[:n] {
			data := dataOf(name, rr)
			k := slices.Index(from, data)
			if k < 0 || rr.Type != modelTypes[set] || int64(rr.TTL) != ttl {
				return fmt.Sprintf("%s with TTL %d is not one of %v with TTL %d", data, rr.TTL, from, ttl)
			}
			from = slices.Delete(slices.Clone(from), k, k+1)
		}
		if n > 0 && set == "CNAME" && typ != "CNAME" {
			name, rest = strings.ToLower(dataOf(name, rest[0])), rest[1:]
			continue
		}
		rest = rest[n:]
		soa := int64(registry.DefaultNegativeTTL)
		if zone.soa != nil {
			soa = *zone.soa
		}
		switch {
		case n > 0:
			return unless(len(rest) == 0 && len(r.Authority) == 0 && r.Rcode == answer.NoError, "only these records")
		case at.exists:
			return unless(len(rest) == 0 && r.Rcode == answer.NoError && len(r.Authority) == 1 &&
				int64(r.Authority[0].TTL) == soa, "NOERROR with a SOA for %d s", soa)
		}
		return unless(len(rest) == 0 && r.Rcode == answer.NXDomain && len(r.Authority) == 1 &&
			int64(r.Authority[0].TTL) == soa, "NXDOMAIN with a SOA for %d s", soa)
	}
}

func unless(ok bool, format string, args ...any) string {
	if ok {
		return ""
	}
	return "want " + fmt.Sprintf(format, args...)
}

// recordsAt returns the records of a type at a name, the number of them in an answer, and their TTL.
func (m *model) recordsAt(at location, typ string) (from []string, n int, ttl int64) {
	switch {
	case at.service == nil:
		return nil, 0, 0
	case at.host == nil:
		from, n = at.service.candidates(typ)
		ttl, _ = at.service.ttl(typ)
		return from, n, ttl
	}
	ttl, _ = at.service.ttl("SRV")
	if text := at.host.attributes[addressKeys[typ]]; text != "" && (typ == "A" || typ == "AAAA") {
		return []string{netip.MustParseAddr(text).String()}, 1, ttl
	}
	return nil, 0, ttl
}

// dataOf returns a record's data as [modelService.data] writes it.
func dataOf(name string, rr answer.Record) string {
	switch directory.RecordType(rr.Type) {
	case directory.SRV:
		target := rr.Target.Text
		if rr.Target.From == answer.Below {
			target += "." + name
		}
		return fmt.Sprint(rr.Port, " ", target)
	case directory.CNAME:
		return rr.Target.Text
	}
	return rr.Addr.String()
}
