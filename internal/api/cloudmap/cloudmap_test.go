package cloudmap_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"github.com/aws/smithy-go"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/cloudmap"
	"github.com/bakingclouds/rollcall/internal/control/publish"
	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
)

const (
	account = "123456789012"
	region  = "eu-west-1"
)

var key = awsapi.Pair{AccessKeyID: "AKIAROOT", Secret: "root/secret+1", Role: awsapi.Administrator}

// world is the API as a client meets it: behind a socket and a signature, over a real store, with the
// directory that follows it.
type world struct {
	*sd.Client
	t   testing.TB
	db  *store.Store
	dir *directory.Directory
	url string
	hc  *http.Client
	ms  atomic.Int64 // the clock: one millisecond later each time it is read
}

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// standstill is after what time a call that is not answered fails, and so is named, instead of holding up all tests until
// their own time is over.
const standstill = 5 * time.Minute

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, db: storetest.Open(t, registry.Schema()...), dir: directory.New(), url: "http://rollcall.test"}
	publish.Follow(w.db, w.dir, func(string, string) (in, except []netip.Prefix) { return nil, nil })
	keys, err := awsapi.NewKeys(key)
	if err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return epoch.Add(time.Duration(w.ms.Add(1)) * time.Millisecond) }
	ts := httptest.NewServer(awsapi.NewHandler(awsapi.Config{Account: account, Keys: keys}, cloudmap.New(w.db, w.dir, nil, now)))
	t.Cleanup(ts.Close)
	// SDKs put "data-" before the host of the Discover operations; every name leads to the server.
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, ts.Listener.Addr().String())
	}}
	t.Cleanup(transport.CloseIdleConnections)
	w.hc = &http.Client{Transport: inMemory{transport}, Timeout: standstill}
	w.Client = w.in(region)
	return w
}

// inMemory sends bodies from memory of its own. The SDK closes its body once the answer's header is there; a
// transport that then still looks for the end of the body takes that for a failed write, and closes the
// connection while the answer is being read. SDK clients retry that; these tests count calls.
type inMemory struct{ *http.Transport }

func (t inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	return t.Transport.RoundTrip(r)
}

// in is a client of another region.
func (w *world) in(region string) *sd.Client {
	return sd.New(sd.Options{
		Region: region, BaseEndpoint: &w.url, HTTPClient: w.hc, RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: key.Secret}, nil
		}),
	})
}

// must returns the output of a call that has to succeed.
func must[O any](t testing.TB) func(*O, error) *O {
	return func(out *O, err error) *O {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// operation polls as SDK users do, and fails the test unless the operation has succeeded.
func (w *world) operation(id *string) *types.Operation {
	w.t.Helper()
	op := must[sd.GetOperationOutput](w.t)(w.GetOperation(w.t.Context(), &sd.GetOperationInput{OperationId: id})).Operation
	if op.Status != types.OperationStatusSuccess {
		w.t.Fatalf("operation %s is %s: %s: %s", *id, op.Status, value(op.ErrorCode), value(op.ErrorMessage))
	}
	return op
}

func (w *world) httpNamespace(name string) string {
	w.t.Helper()
	out := must[sd.CreateHttpNamespaceOutput](w.t)(w.CreateHttpNamespace(w.t.Context(), &sd.CreateHttpNamespaceInput{Name: &name}))
	return w.operation(out.OperationId).Targets["NAMESPACE"]
}

func (w *world) privateNamespace(name, vpc string) string {
	w.t.Helper()
	out := must[sd.CreatePrivateDnsNamespaceOutput](w.t)(w.CreatePrivateDnsNamespace(w.t.Context(), &sd.CreatePrivateDnsNamespaceInput{Name: &name, Vpc: &vpc}))
	return w.operation(out.OperationId).Targets["NAMESPACE"]
}

func (w *world) publicNamespace(name string) string {
	w.t.Helper()
	out := must[sd.CreatePublicDnsNamespaceOutput](w.t)(w.CreatePublicDnsNamespace(w.t.Context(), &sd.CreatePublicDnsNamespaceInput{Name: &name}))
	return w.operation(out.OperationId).Targets["NAMESPACE"]
}

// service makes a service. what says what it has: "A 10, SRV 60, weighted, custom, http" and the like.
func (w *world) service(namespace, name, what string) string {
	w.t.Helper()
	in := &sd.CreateServiceInput{Name: &name, NamespaceId: &namespace}
	shape(in, what)
	return *must[sd.CreateServiceOutput](w.t)(w.CreateService(w.t.Context(), in)).Service.Id
}

func shape(in *sd.CreateServiceInput, what string) {
	for _, word := range strings.Split(what, ", ") {
		var record string
		var ttl int64
		switch n, _ := fmt.Sscan(word, &record, &ttl); {
		case word == "":
		case word == "custom":
			in.HealthCheckCustomConfig = &types.HealthCheckCustomConfig{}
		case word == "api":
			in.Type = types.ServiceTypeOptionHttp
		case word == "http", word == "tcp":
			in.HealthCheckConfig = &types.HealthCheckConfig{Type: types.HealthCheckType(strings.ToUpper(word))}
		default:
			if in.DnsConfig == nil {
				in.DnsConfig = &types.DnsConfig{}
			}
			if n == 2 {
				in.DnsConfig.DnsRecords = append(in.DnsConfig.DnsRecords, types.DnsRecord{Type: types.RecordType(record), TTL: &ttl})
			} else {
				in.DnsConfig.RoutingPolicy = types.RoutingPolicy(strings.ToUpper(word))
			}
		}
	}
}

// register registers an instance with attributes written as "IPV4=10.0.0.1 PORT=80 color=red": reserved
// keys without AWS_INSTANCE_.
func (w *world) register(service, id, attributes string) *types.Operation {
	w.t.Helper()
	out := must[sd.RegisterInstanceOutput](w.t)(w.RegisterInstance(w.t.Context(), &sd.RegisterInstanceInput{
		ServiceId: &service, InstanceId: &id, Attributes: parse(attributes)}))
	return must[sd.GetOperationOutput](w.t)(w.GetOperation(w.t.Context(), &sd.GetOperationInput{OperationId: out.OperationId})).Operation
}

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
	out := must[sd.DeregisterInstanceOutput](w.t)(w.DeregisterInstance(w.t.Context(), &sd.DeregisterInstanceInput{ServiceId: &service, InstanceId: &id}))
	w.operation(out.OperationId)
}

// discovered are the ids that DiscoverInstances answers, sorted.
func (w *world) discovered(in *sd.DiscoverInstancesInput) string {
	w.t.Helper()
	out := must[sd.DiscoverInstancesOutput](w.t)(w.DiscoverInstances(w.t.Context(), in))
	var ids []string
	for _, i := range out.Instances {
		ids = append(ids, *i.InstanceId)
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}

// code is the code of an API error, "" when there is none.
func code(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func value(s *string) string { return aws.ToString(s) }
