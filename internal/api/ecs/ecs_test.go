package ecs_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/api/ecs"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
	"github.com/bakingclouds/rollcall/internal/task"
)

const (
	account = apitest.Account
	region  = apitest.Region
	arns    = "arn:aws:ecs:" + region + ":" + account + ":"
)

var epoch = apitest.Epoch

// testAPI is the API over a store, with a client of the SDK. Neither control loops nor agents run; the tests write
// their rows.
type testAPI struct {
	*sdk.Client
	t     *testing.T
	db    *store.Store
	sc    arn.Scope
	srv   *apitest.Server
	clock apitest.Clock
}

func newAPI(t *testing.T) *testAPI {
	t.Helper()
	return newAPIOn(t, storetest.Open(t, append(task.Schema(), registry.Schema()...)...))
}

func newAPIOn(t *testing.T, db *store.Store) *testAPI {
	t.Helper()
	api := &testAPI{t: t, db: db, sc: arn.Scope{Account: account, Region: region}, clock: apitest.Clock{Step: time.Second}}
	api.srv = apitest.Serve(t, ecs.New(api.db, "a", api.clock.Now))
	api.Client = api.client()
	return api
}

func (api *testAPI) client(options ...func(*aws.Config)) *sdk.Client {
	return sdk.NewFromConfig(api.srv.Config(options...))
}

// update runs a transaction as a control loop would.
func (api *testAPI) update(fn func(tx *store.Tx) error) {
	api.t.Helper()
	if _, err := store.Update(api.t.Context(), api.db, func(tx *store.Tx) (struct{}, error) {
		return struct{}{}, fn(tx)
	}); err != nil {
		api.t.Fatal(err)
	}
}

// registerDefinition registers a revision of a family with one container, and returns its ARN.
func (api *testAPI) registerDefinition(family string, mode types.NetworkMode, ports ...int32) string {
	api.t.Helper()
	c := types.ContainerDefinition{Name: aws.String("app"), Image: aws.String("sample"), Memory: aws.Int32(64)}
	for _, p := range ports {
		c.PortMappings = append(c.PortMappings, types.PortMapping{ContainerPort: aws.Int32(p)})
	}
	return *apitest.Must(api.RegisterTaskDefinition(api.t.Context(), &sdk.RegisterTaskDefinitionInput{
		Family: &family, NetworkMode: mode, ContainerDefinitions: []types.ContainerDefinition{c},
	}))(api.t).TaskDefinition.TaskDefinitionArn
}

// createService registers a task definition in bridge mode and creates a service of it.
func (api *testAPI) createService(cluster, name string, edit ...func(*sdk.CreateServiceInput)) *types.Service {
	api.t.Helper()
	in := &sdk.CreateServiceInput{
		Cluster: aws.String(cluster), ServiceName: &name, DesiredCount: aws.Int32(1),
		TaskDefinition: aws.String(api.registerDefinition(name, types.NetworkModeBridge, 80)),
	}
	for _, edit := range edit {
		edit(in)
	}
	return apitest.Must(api.CreateService(api.t.Context(), in))(api.t).Service
}

func (api *testAPI) createCluster(name string) {
	api.t.Helper()
	apitest.Must(api.CreateCluster(api.t.Context(), &sdk.CreateClusterInput{ClusterName: &name}))(api.t)
}

// describeWeb returns the service "web" of a cluster as DescribeServices describes it.
func (api *testAPI) describeWeb(cluster string) types.Service {
	api.t.Helper()
	out := apitest.Must(api.DescribeServices(api.t.Context(), &sdk.DescribeServicesInput{
		Cluster: &cluster, Services: []string{"web"},
	}))(api.t)
	if len(out.Services) != 1 {
		api.t.Fatalf("DescribeServices: failures %v", out.Failures)
	}
	return out.Services[0]
}

// createCloudMapService creates a Cloud Map service with records of these types, and returns its ARN.
func (api *testAPI) createCloudMapService(name string, records ...registry.RecordType) string {
	api.t.Helper()
	var id string
	api.update(func(tx *store.Tx) error {
		kind := registry.Private
		if len(records) == 0 {
			kind = registry.HTTP
		}
		namespace := registry.NamespaceSpec{Kind: kind, Name: "corp-" + name, VPC: "vpc-1"}
		op, err := registry.CreateNamespace(tx, api.sc, namespace, registry.NewCall(epoch))
		if err != nil {
			return err
		}
		spec := registry.ServiceSpec{NamespaceID: op.Targets.Namespace, Name: name, HasDNS: len(records) > 0}
		for _, r := range records {
			spec.Records = append(spec.Records, registry.Record{Type: r, TTL: 10})
		}
		if spec.HasDNS && records[0] == registry.CNAME {
			spec.Policy = registry.Weighted
		}
		svc, err := registry.CreateService(tx, api.sc, spec, registry.NewCall(epoch))
		if err != nil {
			return err
		}
		id = svc.ID
		return nil
	})
	return fmt.Sprintf("arn:aws:servicediscovery:%s:%s:service/%s", region, account, id)
}

// wantError fails the test unless a call returns the error want. A want that ends in "..." is a prefix:
//
//	wantError(api.CreateCluster(ctx, in))(t, "InvalidParameter: Invalid cluster name...")
func wantError[O any](_ *O, err error) func(t *testing.T, want string) {
	return func(t *testing.T, want string) {
		t.Helper()
		got := apitest.ErrorText(err)
		if prefix, ok := strings.CutSuffix(want, "..."); ok && strings.HasPrefix(got, prefix) {
			return
		}
		if got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

// diff compares shapes of the SDK. It ignores the unexported member that all of them have.
func diff(want, got any) string {
	return cmp.Diff(want, got, cmp.FilterPath(func(p cmp.Path) bool {
		f, ok := p.Last().(cmp.StructField)
		return ok && f.Name() == "noSmithyDocumentSerde"
	}, cmp.Ignore()))
}
