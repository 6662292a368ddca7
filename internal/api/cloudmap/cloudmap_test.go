package cloudmap_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/api/cloudmap"
	"github.com/bakingclouds/rollcall/internal/control/publish"
	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
)

// arns is the prefix of this API's ARNs.
const arns = "arn:aws:servicediscovery:" + apitest.Region + ":" + apitest.Account + ":"

// world is the API over a store and its directory, with the SDK's client for it.
type world struct {
	*sd.Client
	t     testing.TB
	db    *store.Store
	dir   *directory.Directory
	srv   *apitest.Server
	clock apitest.Clock
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	return newWorldOn(tb, storetest.Open(tb, registry.Schema()...))
}

func newWorldOn(tb testing.TB, db *store.Store) *world {
	tb.Helper()
	w := &world{t: tb, db: db, dir: directory.New(), clock: apitest.Clock{Step: time.Millisecond}}
	publish.Follow(w.db, w.dir, func(string, string) (in, except []netip.Prefix) { return nil, nil })
	w.srv = apitest.Serve(tb, cloudmap.New(w.db, w.dir, nil, w.clock.Now))
	w.Client = w.client()
	return w
}

func (w *world) client(options ...func(*aws.Config)) *sd.Client {
	return sd.NewFromConfig(w.srv.Config(options...))
}

// operation returns an operation, and fails the test unless it has succeeded.
func (w *world) operation(id *string) *types.Operation {
	w.t.Helper()
	op := apitest.Must(w.GetOperation(w.t.Context(), &sd.GetOperationInput{OperationId: id}))(w.t).Operation
	if op.Status != types.OperationStatusSuccess {
		w.t.Fatalf("operation %s is %s: %s: %s", *id, op.Status, aws.ToString(op.ErrorCode),
			aws.ToString(op.ErrorMessage))
	}
	return op
}

func (w *world) httpNamespace(name string) string {
	w.t.Helper()
	out := apitest.Must(w.CreateHttpNamespace(w.t.Context(), &sd.CreateHttpNamespaceInput{Name: &name}))(w.t)
	return w.operation(out.OperationId).Targets["NAMESPACE"]
}

func (w *world) privateNamespace(name, vpc string) string {
	w.t.Helper()
	out := apitest.Must(w.CreatePrivateDnsNamespace(w.t.Context(), &sd.CreatePrivateDnsNamespaceInput{Name: &name,
		Vpc: &vpc}))(w.t)
	return w.operation(out.OperationId).Targets["NAMESPACE"]
}

func (w *world) publicNamespace(name string) string {
	w.t.Helper()
	out := apitest.Must(w.CreatePublicDnsNamespace(w.t.Context(), &sd.CreatePublicDnsNamespaceInput{Name: &name}))(w.t)
	return w.operation(out.OperationId).Targets["NAMESPACE"]
}

// service creates a service and returns its id. what lists its properties, such as "A 10, SRV 60, weighted, custom,
// http".
func (w *world) service(namespace, name, what string) string {
	w.t.Helper()
	in := &sd.CreateServiceInput{Name: &name, NamespaceId: &namespace}
	shape(in, what)
	return *apitest.Must(w.CreateService(w.t.Context(), in))(w.t).Service.Id
}

// shape sets the members of a request that service's what lists.
func shape(in *sd.CreateServiceInput, what string) {
	for _, word := range strings.Split(what, ", ") {
		var record string
		var ttl int64
		n, _ := fmt.Sscan(word, &record, &ttl)
		switch word {
		case "":
		case "custom":
			in.HealthCheckCustomConfig = &types.HealthCheckCustomConfig{}
		case "api":
			in.Type = types.ServiceTypeOptionHttp
		case "http", "tcp":
			in.HealthCheckConfig = &types.HealthCheckConfig{Type: types.HealthCheckType(strings.ToUpper(word))}
		default:
			if in.DnsConfig == nil {
				in.DnsConfig = &types.DnsConfig{}
			}
			if n == 2 {
				in.DnsConfig.DnsRecords = append(in.DnsConfig.DnsRecords,
					types.DnsRecord{Type: types.RecordType(record), TTL: &ttl})
			} else {
				in.DnsConfig.RoutingPolicy = types.RoutingPolicy(strings.ToUpper(word))
			}
		}
	}
}

// register registers an instance. Attributes are written as "IPV4=10.0.0.1 PORT=80 color=red", the reserved ones
// without the prefix AWS_INSTANCE_.
func (w *world) register(service, id, attributes string) *types.Operation {
	w.t.Helper()
	out := apitest.Must(w.RegisterInstance(w.t.Context(), &sd.RegisterInstanceInput{
		ServiceId: &service, InstanceId: &id, Attributes: parse(attributes)}))(w.t)
	return apitest.Must(w.GetOperation(w.t.Context(),
		&sd.GetOperationInput{OperationId: out.OperationId}))(w.t).Operation
}

// parse returns attributes that are written as for register.
func parse(attributes string) map[string]string {
	m := map[string]string{}
	for _, f := range strings.Fields(attributes) {
		k, v, _ := strings.Cut(f, "=")
		switch k {
		case "IPV4", "IPV6", "PORT", "CNAME":
			k = "AWS_INSTANCE_" + k
		case "INIT":
			k = "AWS_INIT_HEALTH_STATUS"
		case "ALIAS":
			k = "AWS_ALIAS_DNS_NAME"
		case "EC2":
			k = "AWS_EC2_INSTANCE_ID"
		}
		m[k] = v
	}
	return m
}

func (w *world) deregister(service, id string) {
	w.t.Helper()
	out := apitest.Must(w.DeregisterInstance(w.t.Context(), &sd.DeregisterInstanceInput{ServiceId: &service,
		InstanceId: &id}))(w.t)
	w.operation(out.OperationId)
}

// discovered returns the sorted ids that DiscoverInstances returns.
func (w *world) discovered(in *sd.DiscoverInstancesInput) string {
	w.t.Helper()
	out := apitest.Must(w.DiscoverInstances(w.t.Context(), in))(w.t)
	var ids []string
	for _, i := range out.Instances {
		ids = append(ids, *i.InstanceId)
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}
