package cloudmap_test

//lint:file-ignore SA1019 clients still send, and read, the members that AWS calls deprecated.

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"pgregory.net/rapid"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/registry"
)

// TestModel plays this many sequences of this many calls, unless -rapid.checks and -rapid.steps say otherwise: about
// ten seconds, or twice that with the race detector.
const (
	sequences = "25"
	calls     = "60"
)

func init() {
	for name, n := range map[string]string{"rapid.checks": sequences, "rapid.steps": calls} {
		if err := flag.Set(name, n); err != nil {
			panic(err)
		}
	}
}

// play is one sequence of calls to the API, in its own region, with the model that they are compared with.
type play struct {
	*rapid.T
	*model
	w   *world
	sd  *sd.Client
	tag string // part of all names, because DNS merges the regions
}

// TestModel makes random calls. After each call it compares the result, the resources that the API shows, and the DNS
// answers with the model. A failure prints the seed that reproduces it.
func TestModel(t *testing.T) {
	w := newWorld(t)
	number := 0
	rapid.Check(t, func(rt *rapid.T) {
		number++
		tag := fmt.Sprintf("q%d", number)
		p := &play{T: rt, model: &model{known: map[string]bool{}}, w: w,
			sd: w.client(apitest.InRegion("region-" + tag)), tag: tag}
		rt.Repeat(map[string]func(*rapid.T){
			"CreateNamespace":      p.turn(p.playCreateNamespace),
			"UpdateNamespace":      p.turn(p.playUpdateNamespace),
			"DeleteNamespace":      p.turn(p.playDeleteNamespace),
			"CreateService 1":      p.turn(p.playCreateService),
			"CreateService 2":      p.turn(p.playCreateService),
			"UpdateService":        p.turn(p.playUpdateService),
			"DeleteService":        p.turn(p.playDeleteService),
			"RegisterInstance 1":   p.turn(p.playRegister),
			"RegisterInstance 2":   p.turn(p.playRegister),
			"RegisterInstance 3":   p.turn(p.playRegister),
			"RegisterInstance 4":   p.turn(p.playRegister),
			"DeregisterInstance 1": p.turn(p.playDeregister),
			"DeregisterInstance 2": p.turn(p.playDeregister),
			"CustomHealth 1":       p.turn(p.playHealth),
			"CustomHealth 2":       p.turn(p.playHealth),
			"Attributes":           p.turn(p.playAttributes),
			"Tags":                 p.turn(p.playTags),
		})
		for _, s := range p.services {
			p.compareService(s)
		}
		for _, n := range p.namespaces {
			p.compareNamespace(n)
		}
	})
}

// turn makes a call and compares all resources that it may have changed, and all of DNS.
func (p *play) turn(call func() (*modelNamespace, *modelService)) func(*rapid.T) {
	return func(rt *rapid.T) {
		p.T = rt
		ns, svc := call()
		if svc != nil {
			p.compareService(svc)
			ns = svc.ns
		}
		if ns != nil {
			p.compareNamespace(ns)
		}
		p.compareDNS()
	}
}

// outcome returns the result of a call in the model's terms, and the operation that the call started.
func (p *play) outcome(operation *string, err error) (result string, op *types.Operation) {
	if err != nil {
		return apitest.ErrorCode(err), nil
	}
	if operation == nil {
		return "", nil
	}
	out, err := p.sd.GetOperation(p.w.t.Context(), &sd.GetOperationInput{OperationId: operation})
	if err != nil {
		p.Fatalf("GetOperation: %v", err)
	}
	if op = out.Operation; op.Status == types.OperationStatusFail {
		return "FAIL " + aws.ToString(op.ErrorCode), op
	}
	return "", op
}

// wantOutcome ends the sequence unless a call has the model's result.
func (p *play) wantOutcome(call, got, want string) {
	p.Helper()
	if got != want {
		p.Fatalf("%s returned %q, the model expects %q", call, got, want)
	}
}

func one[T any](p *play, what string, from []T) T {
	if len(from) == 0 {
		p.Skip("no " + what + " exists")
	}
	return rapid.SampledFrom(from).Draw(p.T, what)
}

func (p *play) playCreateNamespace() (*modelNamespace, *modelService) {
	if len(p.namespaces) >= 3 {
		p.Skip("enough exist")
	}
	n := &modelNamespace{
		kind: one(p, "kind", types.NamespaceTypeHttp.Values()),
		name: fmt.Sprintf(one(p, "name", []string{"shop.%s.test", "Shop.%s.test", "api.shop.%s.test", "%s",
			"sh_op.%s.test", "shop..%s.test", `s\p.%s.test`}), p.tag),
		vpc: one(p, "VPC", []string{"vpc-1", "vpc-2"}), tags: map[string]string{},
	}
	if n.dns() && rapid.Bool().Draw(p.T, "SOA") {
		n.soa = new(rapid.Int64Range(0, 100).Draw(p.T, "SOA TTL"))
	}
	var operation *string
	var err error
	switch n.kind {
	case types.NamespaceTypeHttp:
		var out *sd.CreateHttpNamespaceOutput
		if out, err = p.sd.CreateHttpNamespace(p.w.t.Context(),
			&sd.CreateHttpNamespaceInput{Name: &n.name}); err == nil {
			operation = out.OperationId
		}
	case types.NamespaceTypeDnsPrivate:
		in := &sd.CreatePrivateDnsNamespaceInput{Name: &n.name, Vpc: &n.vpc}
		if n.soa != nil {
			in.Properties = &types.PrivateDnsNamespaceProperties{
				DnsProperties: &types.PrivateDnsPropertiesMutable{SOA: &types.SOA{TTL: n.soa}}}
		}
		var out *sd.CreatePrivateDnsNamespaceOutput
		if out, err = p.sd.CreatePrivateDnsNamespace(p.w.t.Context(), in); err == nil {
			operation = out.OperationId
		}
	default:
		in := &sd.CreatePublicDnsNamespaceInput{Name: &n.name}
		if n.soa != nil {
			in.Properties = &types.PublicDnsNamespaceProperties{
				DnsProperties: &types.PublicDnsPropertiesMutable{SOA: &types.SOA{TTL: n.soa}}}
		}
		var out *sd.CreatePublicDnsNamespaceOutput
		if out, err = p.sd.CreatePublicDnsNamespace(p.w.t.Context(), in); err == nil {
			operation = out.OperationId
		}
	}
	got, op := p.outcome(operation, err)
	p.wantOutcome(fmt.Sprint("create ", n.kind, " ", n.name, " ", n.vpc), got, p.createNamespace(n.kind, n.name, n.vpc))
	if got != "" {
		return nil, nil
	}
	n.id = op.Targets["NAMESPACE"]
	plain := p.plainHTTPName(n.name)
	n.httpName = *p.namespace(n.id).Properties.HttpProperties.HttpName
	if (n.httpName == n.name) != plain || !strings.HasPrefix(n.httpName, n.name) || !p.plainHTTPName(n.httpName) {
		p.Fatalf("the HttpName of %s is %s", n.name, n.httpName)
	}
	p.namespaces = append(p.namespaces, n)
	return n, nil
}

func (p *play) playUpdateNamespace() (*modelNamespace, *modelService) {
	n := one(p, "namespace", p.namespaces)
	as := n.kind
	if rapid.IntRange(0, 4).Draw(p.T, "mistake") == 0 {
		as = one(p, "kind", types.NamespaceTypeHttp.Values())
	}
	text, ttl := rapid.SampledFrom([]string{"", "a", "b"}).Draw(p.T, "description"), rapid.Int64Range(0, 100).Draw(p.T,
		"SOA TTL")
	var operation *string
	var err error
	switch as {
	case types.NamespaceTypeHttp:
		var out *sd.UpdateHttpNamespaceOutput
		if out, err = p.sd.UpdateHttpNamespace(p.w.t.Context(),
			&sd.UpdateHttpNamespaceInput{Id: &n.id, Namespace: &types.HttpNamespaceChange{
				Description: &text}}); err == nil {
			operation = out.OperationId
		}
	case types.NamespaceTypeDnsPrivate:
		var out *sd.UpdatePrivateDnsNamespaceOutput
		if out, err = p.sd.UpdatePrivateDnsNamespace(p.w.t.Context(), &sd.UpdatePrivateDnsNamespaceInput{Id: &n.id,
			Namespace: &types.PrivateDnsNamespaceChange{Description: &text,
				Properties: &types.PrivateDnsNamespacePropertiesChange{
					DnsProperties: &types.PrivateDnsPropertiesMutableChange{
						SOA: &types.SOAChange{TTL: &ttl}}}}}); err == nil {
			operation = out.OperationId
		}
	default:
		var out *sd.UpdatePublicDnsNamespaceOutput
		if out, err = p.sd.UpdatePublicDnsNamespace(p.w.t.Context(), &sd.UpdatePublicDnsNamespaceInput{Id: &n.id,
			Namespace: &types.PublicDnsNamespaceChange{Description: &text,
				Properties: &types.PublicDnsNamespacePropertiesChange{
					DnsProperties: &types.PublicDnsPropertiesMutableChange{
						SOA: &types.SOAChange{TTL: &ttl}}}}}); err == nil {
			operation = out.OperationId
		}
	}
	got, _ := p.outcome(operation, err)
	if as != n.kind {
		p.wantOutcome("update as another kind", got, "InvalidInput")
		return n, nil
	}
	p.wantOutcome("update a namespace", got, "")
	if n.description = text; n.dns() {
		n.soa = &ttl
	}
	return n, nil
}

func (p *play) playDeleteNamespace() (*modelNamespace, *modelService) {
	n := one(p, "namespace", p.namespaces)
	out, err := p.sd.DeleteNamespace(p.w.t.Context(), &sd.DeleteNamespaceInput{Id: &n.id})
	var operation *string
	if err == nil {
		operation = out.OperationId
	}
	got, _ := p.outcome(operation, err)
	p.wantOutcome("delete a namespace", got, p.deleteNamespace(n))
	if got != "" {
		return n, nil
	}
	p.namespaces = slices.DeleteFunc(p.namespaces, func(other *modelNamespace) bool { return other == n })
	if _, err := p.sd.GetNamespace(p.w.t.Context(),
		&sd.GetNamespaceInput{Id: &n.id}); apitest.ErrorCode(err) != "NamespaceNotFound" {
		p.Fatalf("GetNamespace after DeleteNamespace: %v", err)
	}
	return nil, nil
}

// modelShapes are properties of services, in the notation of shape. invalidShapes are rejected in most or all
// namespaces.
var (
	modelShapes = []string{
		"A 10", "A 10, custom", "A 0, AAAA 20, custom", "A 10, weighted, custom", "AAAA 5, weighted", "SRV 30, custom",
		"SRV 30, A 10, custom", "SRV 7", "SRV 7, AAAA 8", "CNAME 60, weighted", "CNAME 60, weighted, custom",
		"custom", "",
	}
	invalidShapes = []string{
		"A 10, tcp", "tcp", "A 10, SRV 20, http", "CNAME 60", "CNAME 60, A 10, weighted", "A 1, A 2",
		"A 10, http, custom",
	}
)

func (p *play) playCreateService() (*modelNamespace, *modelService) {
	if len(p.services) >= 5 {
		p.Skip("enough exist")
	}
	in := &sd.CreateServiceInput{Name: new(one(p, "service name", []string{"a", "A", "b", "a.b", "i.a", "_http._tcp",
		"."}))}
	s := &modelService{ns: one(p, "namespace", p.namespaces), instances: map[string]*modelInstance{},
		attributes: map[string]string{}, tags: map[string]string{}}
	shapes := modelShapes
	if rapid.IntRange(0, 5).Draw(p.T, "invalid") == 0 {
		shapes = invalidShapes
	}
	shape(in, one(p, "shape", shapes))
	in.NamespaceId = &s.ns.id
	if in.DnsConfig != nil {
		s.records, s.weighted = in.DnsConfig.DnsRecords, in.DnsConfig.RoutingPolicy == types.RoutingPolicyWeighted
	}
	s.name, s.custom, s.probe = *in.Name, in.HealthCheckCustomConfig != nil, in.HealthCheckConfig != nil
	out, err := p.sd.CreateService(p.w.t.Context(), in)
	p.wantOutcome(fmt.Sprintf("create service %s of %+v in %s", s.name, in, s.ns.kind), apitest.ErrorCode(err),
		p.createService(s))
	if err != nil {
		return s.ns, nil
	}
	s.id, s.registered = *out.Service.Id, true
	p.services = append(p.services, s)
	return nil, s
}

func (p *play) playUpdateService() (*modelNamespace, *modelService) {
	s := one(p, "service", p.services)
	change := &types.ServiceChange{Description: new(rapid.SampledFrom([]string{"", "a", "b"}).Draw(p.T, "description"))}
	if s.probe { // an omitted health check would be removed
		change.HealthCheckConfig = &types.HealthCheckConfig{Type: p.service(s.id).HealthCheckConfig.Type}
	}
	var records []types.DnsRecord
	if rapid.Bool().Draw(p.T, "records") {
		for _, r := range rapid.Permutation(s.records).Draw(p.T, "order") {
			records = append(records, types.DnsRecord{Type: r.Type, TTL: new(rapid.Int64Range(0, 100).Draw(p.T,
				"TTL"))})
		}
		if rapid.IntRange(0, 4).Draw(p.T, "mistake") == 0 {
			records = append(records, types.DnsRecord{Type: types.RecordTypeA, TTL: new(int64(1))})
		}
	}
	if len(records) > 0 {
		change.DnsConfig = &types.DnsConfigChange{DnsRecords: records}
	}
	out, err := p.sd.UpdateService(p.w.t.Context(), &sd.UpdateServiceInput{Id: &s.id, Service: change})
	var operation *string
	if err == nil {
		operation = out.OperationId
	}
	got, _ := p.outcome(operation, err)
	p.wantOutcome("update a service", got, p.updateService(s, records))
	if got == "" {
		s.description = *change.Description
		if len(records) > 0 {
			s.records = records
		}
	}
	return nil, s
}

func (p *play) playDeleteService() (*modelNamespace, *modelService) {
	s := one(p, "service", p.services)
	_, err := p.sd.DeleteService(p.w.t.Context(), &sd.DeleteServiceInput{Id: &s.id})
	p.wantOutcome("delete a service", apitest.ErrorCode(err), p.deleteService(s))
	if err != nil {
		return nil, s
	}
	p.services = slices.DeleteFunc(p.services, func(other *modelService) bool { return other == s })
	if _, err := p.sd.ListInstances(p.w.t.Context(),
		&sd.ListInstancesInput{ServiceId: &s.id}); apitest.ErrorCode(err) != "ServiceNotFound" {
		p.Fatalf("ListInstances after DeleteService: %v", err)
	}
	return s.ns, nil
}

// modelIDs conflict with each other, with service names and with the limits of DNS in many ways.
var modelIDs = []string{"i", "I", "j", "a", "i.a", "10.0.0.1", "x:y@z/1", "a..b", strings.Repeat("l", 64)}

// modelValues are valid and invalid values of attributes.
var modelValues = map[string][]string{
	registry.AttrIPv4:       {"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.256", "010.0.0.1", "2001:db8::1"},
	registry.AttrIPv6:       {"2001:db8::1", "2001:0DB8::0002", "::ffff:10.0.0.1", "10.0.0.1", "fe80::1%eth0"},
	registry.AttrPort:       {"80", "65535", "0", "65536", "http", ""},
	registry.AttrCNAME:      {"elsewhere.example", "a..b", `a\b.example`, "x"},
	registry.AttrAlias:      {"lb.example"},
	registry.AttrEC2:        {"i-0123"},
	registry.AttrInitHealth: {"HEALTHY", "UNHEALTHY", "FINE"},
	"color":                 {"red", "blue", ""},
}

// drawAttributes draws the attributes that the service requires and changes up to three of them.
func (p *play) drawAttributes(s *modelService) map[string]string {
	a := map[string]string{"color": rapid.SampledFrom([]string{"red", "blue"}).Draw(p.T, "color")}
	good := func(needed bool, key string, values ...string) {
		if needed {
			a[key] = rapid.SampledFrom(values).Draw(p.T, key)
		}
	}
	srv := s.has("SRV") || s.probe
	good(s.has("A") || srv, registry.AttrIPv4, "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")
	good(s.has("AAAA"), registry.AttrIPv6, "2001:db8::1", "2001:db8:0::2", "2001:DB8::3")
	good(srv, registry.AttrPort, "80", "8080")
	good(s.has("CNAME"), registry.AttrCNAME, "elsewhere.example", "b."+s.ns.name, "A."+s.ns.name, "a.b."+s.ns.name)
	if s.custom && rapid.IntRange(0, 2).Draw(p.T, "init") == 0 {
		a[registry.AttrInitHealth] = "UNHEALTHY"
	}
	if s.weighted && s.has("A") && rapid.IntRange(0, 3).Draw(p.T, "alias") == 0 {
		a = map[string]string{registry.AttrAlias: "lb.example"}
	}
	keys := slices.Sorted(maps.Keys(modelValues))
	for range max(0, rapid.IntRange(-3, 3).Draw(p.T, "changes")) {
		key := rapid.SampledFrom(keys).Draw(p.T, "key")
		if rapid.IntRange(0, 3).Draw(p.T, "remove") == 0 {
			delete(a, key)
		} else {
			a[key] = rapid.SampledFrom(modelValues[key]).Draw(p.T, "value")
		}
	}
	return a
}

func (p *play) playRegister() (*modelNamespace, *modelService) {
	s := one(p, "service", p.services)
	id, a := rapid.SampledFrom(modelIDs).Draw(p.T, "instance"), p.drawAttributes(s)
	old := s.instances[id]
	token := fmt.Sprint("fresh", p.w.clock.Elapsed())
	if old != nil && rapid.Bool().Draw(p.T, "same token") {
		token = old.token
		if rapid.Bool().Draw(p.T, "same attributes") {
			a = old.attributes
		}
	}
	out, err := p.sd.RegisterInstance(p.w.t.Context(),
		&sd.RegisterInstanceInput{ServiceId: &s.id, InstanceId: &id, Attributes: a, CreatorRequestId: &token})
	var operation *string
	if err == nil {
		operation = out.OperationId
	}
	got, op := p.outcome(operation, err)
	p.wantOutcome(fmt.Sprintf("register %s with %v in %s", id, a, s.name), got, p.register(s, id, a))
	if got != "" {
		return nil, s
	}
	if op.Targets["SERVICE"] != s.id || op.Targets["INSTANCE"] != id {
		p.Fatalf("the operation's targets are %v", op.Targets)
	}
	if old != nil && old.token == token && maps.Equal(old.attributes, a) {
		p.wantOutcome("the operation of a repeated registration", *op.Id, old.operation)
		return nil, s
	}
	healthy := !s.custom || a[registry.AttrInitHealth] != "UNHEALTHY"
	s.instances[id] = &modelInstance{attributes: a, token: token, operation: *op.Id, healthy: healthy, ready: healthy}
	s.registered = true
	return nil, s
}

func (p *play) playDeregister() (*modelNamespace, *modelService) {
	s := one(p, "service", p.services)
	id := p.instanceOf(s)
	out, err := p.sd.DeregisterInstance(p.w.t.Context(), &sd.DeregisterInstanceInput{ServiceId: &s.id, InstanceId: &id})
	want := ""
	if s.instances[id] == nil {
		want = "InstanceNotFound"
	}
	var operation *string
	if err == nil {
		operation = out.OperationId
	}
	got, _ := p.outcome(operation, err)
	p.wantOutcome("deregister "+id, got, want)
	if got == "" {
		delete(s.instances, id)
		s.registered = true
	}
	return nil, s
}

// instanceOf draws an instance of a service, or occasionally an id that is not registered.
func (p *play) instanceOf(s *modelService) string {
	if len(s.instances) == 0 || rapid.IntRange(0, 9).Draw(p.T, "unknown") == 0 {
		return rapid.SampledFrom(modelIDs).Draw(p.T, "instance")
	}
	return rapid.SampledFrom(slices.Sorted(maps.Keys(s.instances))).Draw(p.T, "instance")
}

func (p *play) playHealth() (*modelNamespace, *modelService) {
	s := one(p, "service", p.services)
	id := p.instanceOf(s)
	status := rapid.SampledFrom(types.CustomHealthStatusHealthy.Values()).Draw(p.T, "status")
	_, err := p.sd.UpdateInstanceCustomHealthStatus(p.w.t.Context(),
		&sd.UpdateInstanceCustomHealthStatusInput{ServiceId: &s.id, InstanceId: &id, Status: status})
	p.wantOutcome("set the health of "+id, apitest.ErrorCode(err), p.setHealth(s, id))
	if err == nil {
		i := s.instances[id]
		i.healthy = status == types.CustomHealthStatusHealthy
		i.ready = i.ready || i.healthy
	}
	return nil, s
}

func (p *play) playAttributes() (*modelNamespace, *modelService) {
	s := one(p, "service", p.services)
	key := rapid.SampledFrom([]string{"k", "l", "m"}).Draw(p.T, "key")
	if rapid.Bool().Draw(p.T, "put") {
		_, err := p.sd.UpdateServiceAttributes(p.w.t.Context(),
			&sd.UpdateServiceAttributesInput{ServiceId: &s.id, Attributes: map[string]string{key: "v"}})
		p.wantOutcome("put a service attribute", apitest.ErrorCode(err), "")
		s.attributes[key] = "v"
	} else {
		_, err := p.sd.DeleteServiceAttributes(p.w.t.Context(),
			&sd.DeleteServiceAttributesInput{ServiceId: &s.id, Attributes: []string{key, "unknown"}})
		p.wantOutcome("delete a service attribute", apitest.ErrorCode(err), "")
		delete(s.attributes, key)
	}
	return nil, s
}

func (p *play) playTags() (*modelNamespace, *modelService) {
	n := one(p, "namespace", p.namespaces)
	arn, tags, svc := p.arn("namespace", n.id), n.tags, (*modelService)(nil)
	if all := p.in(n); len(all) > 0 {
		svc = rapid.SampledFrom(all).Draw(p.T, "service")
		arn, tags = p.arn("service", svc.id), svc.tags
	}
	key := rapid.SampledFrom([]string{"k", "l", "m"}).Draw(p.T, "key")
	if rapid.Bool().Draw(p.T, "tag") {
		_, err := p.sd.TagResource(p.w.t.Context(), &sd.TagResourceInput{ResourceARN: &arn,
			Tags: []types.Tag{{Key: &key, Value: s("v")}}})
		p.wantOutcome("tag "+arn, apitest.ErrorCode(err), "")
		tags[key] = "v"
	} else {
		_, err := p.sd.UntagResource(p.w.t.Context(), &sd.UntagResourceInput{ResourceARN: &arn, TagKeys: []string{key}})
		p.wantOutcome("untag "+arn, apitest.ErrorCode(err), "")
		delete(tags, key)
	}
	return n, svc
}
