package clients

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"github.com/miekg/dns"

	"github.com/bakingclouds/rollcall/test/harness"
)

// externalDNS makes the calls of external-dns's provider aws-sd, in its order. It never repeats a call and never reads
// an operation, so each call must find the effect of the one before.
type externalDNS struct {
	*harness.Server
	api *sd.Client
}

// owner is the description by which the provider recognizes its services.
const owner = "heritage=external-dns,external-dns/owner=default,external-dns/resource=service/default/web"

// endpoint is a name in a zone with its records, as a Kubernetes service or ingress requests it.
type endpoint struct {
	name, kind string // kind is A, AAAA or CNAME
	ttl        int64
	targets    []string
}

// String returns the endpoint as one line.
func (e endpoint) String() string {
	return fmt.Sprintf("%s %d %s %s", e.name, e.ttl, e.kind, strings.Join(slices.Sorted(slices.Values(e.targets)), " "))
}

// instanceID returns the target in lower case, or its digest if it is too long for an id.
func instanceID(target string) string {
	if id := strings.ToLower(target); len(id) <= 64 {
		return id
	}
	sum := sha256.Sum256([]byte(target))
	return hex.EncodeToString(sum[:])
}

// attributesOf returns the attributes of the instance for a target.
func attributesOf(e endpoint, target string) map[string]string {
	switch {
	case e.kind == "A":
		return map[string]string{"AWS_INSTANCE_IPV4": target}
	case e.kind == "AAAA":
		return map[string]string{"AWS_INSTANCE_IPV6": target}
	case strings.HasSuffix(target, ".elb.amazonaws.com"):
		return map[string]string{"AWS_ALIAS_DNS_NAME": target}
	}
	return map[string]string{"AWS_INSTANCE_CNAME": target}
}

// TestExternalDNS synchronizes endpoints, repeats that without a change, changes TTLs and targets, and deletes all.
func TestExternalDNS(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "none")
	x := &externalDNS{s, s.CloudMapWithoutRetries()}
	s.CreateNamespace("k8s.local")
	long := strings.Repeat("long-name.", 8) + "example.com"
	first := []endpoint{
		{"web", "A", 300, []string{"10.0.0.1", "10.0.0.2"}},
		{"six", "AAAA", 60, []string{"2001:db8::1"}},
		{"www", "CNAME", 300, []string{"WWW.example.com"}},
		{"far", "CNAME", 30, []string{long}},
	}
	x.sync(first)
	x.checkRecords(first)
	x.sync(first)
	x.checkRecords(first)
	x.checkDNS("web.k8s.local", dns.TypeA, "300 10.0.0.1", "300 10.0.0.2")
	x.checkDNS("six.k8s.local", dns.TypeAAAA, "60 2001:db8::1")
	x.checkDNS("www.k8s.local", dns.TypeCNAME, "300 WWW.example.com.")
	x.checkDNS("far.k8s.local", dns.TypeCNAME, "30 "+long+".")

	second := []endpoint{
		{"web", "A", 20, []string{"10.0.0.2", "10.0.0.3"}}, // another TTL, one new target, and one removed
		{"www", "CNAME", 300, []string{"other.example.com"}},
	}
	x.sync(second)
	x.checkRecords(second)
	x.checkDNS("web.k8s.local", dns.TypeA, "20 10.0.0.2", "20 10.0.0.3")
	x.checkDNS("www.k8s.local", dns.TypeCNAME, "300 other.example.com.")
	x.checkDNS("six.k8s.local", dns.TypeAAAA)

	// A service of another owner is not deleted.
	s.CreateCloudMapService(x.zone(), "foreign", 10)
	x.sync(nil)
	x.checkRecords(nil)
	x.checkDNS("web.k8s.local", dns.TypeA)
	if left := slices.Sorted(maps.Keys(x.services())); !slices.Equal(left, []string{"foreign"}) {
		t.Errorf("the remaining services are %v, want foreign", left)
	}
}

// TestExternalDNSLoadBalancer registers a load balancer as an alias in a service of A records. The alias must be stored
// and returned, although DNS does not answer with it (docs/compat/cloud-map.md).
func TestExternalDNSLoadBalancer(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "none")
	x := &externalDNS{s, s.CloudMapWithoutRetries()}
	s.CreateNamespace("k8s.local")
	const lb = "my-lb-123.eu-west-1.elb.amazonaws.com"
	out := harness.Must(x.api.CreateService(t.Context(), &sd.CreateServiceInput{
		Name: aws.String("lb"), NamespaceId: aws.String(x.zone()), Description: aws.String(owner),
		Tags: []sdtypes.Tag{},
		DnsConfig: &sdtypes.DnsConfig{RoutingPolicy: sdtypes.RoutingPolicyWeighted,
			DnsRecords: []sdtypes.DnsRecord{{Type: sdtypes.RecordTypeA, TTL: aws.Int64(300)}}}}))(t)
	x.register(*out.Service.Id, endpoint{kind: "CNAME"}, lb)
	found := harness.Must(x.api.DiscoverInstances(t.Context(), &sd.DiscoverInstancesInput{
		NamespaceName: aws.String("k8s.local"), ServiceName: aws.String("lb")}))(t)
	if len(found.Instances) != 1 || found.Instances[0].Attributes["AWS_ALIAS_DNS_NAME"] != lb {
		t.Errorf("DiscoverInstances returns %s", harness.AsJSON(found.Instances))
	}
}

// zone returns the id of the only private namespace. It lists all namespaces, and those of the type without a
// condition.
func (x *externalDNS) zone() string {
	x.T.Helper()
	var ids []string
	for _, filters := range [][]sdtypes.NamespaceFilter{{},
		{{Name: sdtypes.NamespaceFilterNameType, Values: []string{string(sdtypes.NamespaceTypeDnsPrivate)}}}} {
		ids = append(ids, harness.ReadPages(x.T, sd.NewListNamespacesPaginator(x.api,
			&sd.ListNamespacesInput{Filters: filters}), func(page *sd.ListNamespacesOutput) (ids []string) {
			for _, ns := range page.Namespaces {
				ids = append(ids, *ns.Id)
			}
			return ids
		})...)
	}
	if len(ids) != 2 || ids[0] != ids[1] {
		x.T.Fatalf("the lists have the namespaces %v, want the same one twice", ids)
	}
	return ids[0]
}

// services returns the services of the zone by name.
func (x *externalDNS) services() map[string]sdtypes.ServiceSummary {
	x.T.Helper()
	all := map[string]sdtypes.ServiceSummary{}
	harness.ReadPages(x.T, sd.NewListServicesPaginator(x.api, &sd.ListServicesInput{MaxResults: aws.Int32(100),
		Filters: []sdtypes.ServiceFilter{{Name: sdtypes.ServiceFilterNameNamespaceId, Values: []string{x.zone()}}}}),
		func(page *sd.ListServicesOutput) []string {
			for _, svc := range page.Services {
				all[*svc.Name] = svc
			}
			return nil
		})
	return all
}

// records returns the provider's view: every service that it owns and that has an instance.
func (x *externalDNS) records() (all []endpoint) {
	x.T.Helper()
	for name, svc := range x.services() {
		if aws.ToString(svc.Description) != owner {
			continue
		}
		found := harness.Must(x.api.DiscoverInstances(x.T.Context(),
			&sd.DiscoverInstancesInput{NamespaceName: aws.String("k8s.local"), ServiceName: &name}))(x.T)
		// The provider reads the first record of the summary without a check.
		e := endpoint{name: name, ttl: *svc.DnsConfig.DnsRecords[0].TTL, kind: string(svc.DnsConfig.DnsRecords[0].Type)}
		for _, i := range found.Instances {
			for _, key := range []string{"AWS_INSTANCE_IPV4", "AWS_INSTANCE_IPV6", "AWS_INSTANCE_CNAME"} {
				if target, ok := i.Attributes[key]; ok {
					e.targets = append(e.targets, target)
				}
			}
		}
		if len(e.targets) > 0 {
			all = append(all, e)
		}
	}
	return all
}

// checkRecords compares the provider's view with the endpoints that were requested. The provider would try to change a
// difference again and again.
func (x *externalDNS) checkRecords(want []endpoint) {
	x.T.Helper()
	text := func(all []endpoint) string {
		var lines []string
		for _, e := range all {
			lines = append(lines, e.String())
		}
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	if got := text(x.records()); got != text(want) {
		x.T.Fatalf("the records are\n%s\nwant\n%s", got, text(want))
	}
}

// sync changes the zone until it has the endpoints in want.
func (x *externalDNS) sync(want []endpoint) {
	x.T.Helper()
	have := map[string]endpoint{}
	for _, e := range x.records() {
		have[e.name] = e
	}
	for _, e := range want {
		old, exists := have[e.name]
		delete(have, e.name)
		switch {
		case !exists:
			x.create(e)
		case old.String() != e.String():
			x.update(old, e)
		}
	}
	services := x.services()
	for _, e := range have {
		svc := services[e.name]
		for _, target := range e.targets {
			x.deregister(*svc.Id, target)
		}
		harness.Must(x.api.DeleteService(x.T.Context(), &sd.DeleteServiceInput{Id: svc.Id}))(x.T)
	}
}

// create creates a service with an instance for each target.
func (x *externalDNS) create(e endpoint) {
	x.T.Helper()
	policy := sdtypes.RoutingPolicyMultivalue
	if e.kind == "CNAME" {
		policy = sdtypes.RoutingPolicyWeighted
	}
	made := harness.Must(x.api.CreateService(x.T.Context(), &sd.CreateServiceInput{
		Name: &e.name, NamespaceId: aws.String(x.zone()), Description: aws.String(owner), Tags: []sdtypes.Tag{},
		DnsConfig: &sdtypes.DnsConfig{RoutingPolicy: policy,
			DnsRecords: []sdtypes.DnsRecord{{Type: sdtypes.RecordType(e.kind), TTL: &e.ttl}}}}))(x.T)
	for _, target := range e.targets {
		x.register(*made.Service.Id, e, target)
	}
}

// update registers all targets, old and new, and then deregisters those that are not requested.
func (x *externalDNS) update(old, e endpoint) {
	x.T.Helper()
	id := *x.services()[e.name].Id
	if old.ttl != e.ttl {
		harness.Must(x.api.UpdateService(x.T.Context(), &sd.UpdateServiceInput{Id: &id, Service: &sdtypes.ServiceChange{
			Description: aws.String(owner), DnsConfig: &sdtypes.DnsConfigChange{
				DnsRecords: []sdtypes.DnsRecord{{Type: sdtypes.RecordType(e.kind), TTL: &e.ttl}}}}}))(x.T)
	}
	for _, target := range e.targets {
		x.register(id, e, target)
	}
	for _, target := range old.targets {
		if !slices.Contains(e.targets, target) {
			x.deregister(id, target)
		}
	}
}

// register registers the instance of a target.
func (x *externalDNS) register(service string, e endpoint, target string) {
	x.T.Helper()
	harness.Must(x.api.RegisterInstance(x.T.Context(), &sd.RegisterInstanceInput{
		ServiceId: &service, InstanceId: aws.String(instanceID(target)), Attributes: attributesOf(e, target)}))(x.T)
}

// deregister deregisters the instance of a target.
func (x *externalDNS) deregister(service, target string) {
	x.T.Helper()
	harness.Must(x.api.DeregisterInstance(x.T.Context(), &sd.DeregisterInstanceInput{
		ServiceId: &service, InstanceId: aws.String(instanceID(target))}))(x.T)
}

// checkDNS compares the records of a name, each as TTL and data, sorted.
func (x *externalDNS) checkDNS(name string, typ uint16, want ...string) {
	x.T.Helper()
	reply := harness.Must(x.QueryDNS(name, typ))(x.T)
	var got []string
	for _, rr := range reply.Answer {
		if rr.Header().Rrtype == typ {
			got = append(got, fmt.Sprint(rr.Header().Ttl, " ", strings.TrimPrefix(rr.String(), rr.Header().String())))
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		x.T.Errorf("%s %s: %v, want %v", name, dns.TypeToString[typ], got, want)
	}
}
