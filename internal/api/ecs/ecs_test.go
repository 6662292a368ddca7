package ecs_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/smithy-go"
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

// world is the API over a store, and the SDK's client for it. Neither loops nor agents run; tests write the rows
// that they would write.
type world struct {
	*sdk.Client
	t     testing.TB
	db    *store.Store
	sc    arn.Scope
	srv   *apitest.Server
	clock apitest.Clock
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldOn(t, storetest.Open(t, append(task.Schema(), registry.Schema()...)...))
}

func newWorldOn(t testing.TB, db *store.Store) *world {
	t.Helper()
	w := &world{t: t, db: db, sc: arn.Scope{Account: account, Region: region}, clock: apitest.Clock{Step: time.Second}}
	w.srv = apitest.Serve(t, ecs.New(w.db, "a", w.clock.Now))
	w.Client = w.client()
	return w
}

func (w *world) client(options ...func(*aws.Config)) *sdk.Client {
	return sdk.NewFromConfig(w.srv.Config(options...))
}

// write changes rows as a loop would.
func (w *world) write(fn func(tx *store.Tx) error) {
	w.t.Helper()
	if _, err := store.Update(w.t.Context(), w.db, func(tx *store.Tx) (struct{}, error) {
		return struct{}{},
			fn(tx)
	}); err != nil {
		w.t.Fatal(err)
	}
}

// definition registers a revision of a family with one container and these further members.
func (w *world) definition(family string, mode types.NetworkMode, ports ...int32) string {
	w.t.Helper()
	c := types.ContainerDefinition{Name: aws.String("app"), Image: aws.String("sample"), Memory: aws.Int32(64)}
	for _, p := range ports {
		c.PortMappings = append(c.PortMappings, types.PortMapping{ContainerPort: aws.Int32(p)})
	}
	return *apitest.Must(w.RegisterTaskDefinition(w.t.Context(), &sdk.RegisterTaskDefinitionInput{
		Family: &family, NetworkMode: mode, ContainerDefinitions: []types.ContainerDefinition{c},
	}))(w.t).TaskDefinition.TaskDefinitionArn
}

// service makes a service in bridge mode, its definition too.
func (w *world) service(cluster, name string, edit ...func(*sdk.CreateServiceInput)) *types.Service {
	w.t.Helper()
	in := &sdk.CreateServiceInput{
		Cluster: aws.String(cluster), ServiceName: &name, DesiredCount: aws.Int32(1),
		TaskDefinition: aws.String(w.definition(name, types.NetworkModeBridge, 80)),
	}
	for _, edit := range edit {
		edit(in)
	}
	return apitest.Must(w.CreateService(w.t.Context(), in))(w.t).Service
}

func (w *world) cluster(name string) {
	w.t.Helper()
	apitest.Must(w.CreateCluster(w.t.Context(), &sdk.CreateClusterInput{ClusterName: &name}))(w.t)
}

// described is a service of a cluster as DescribeServices shows it.
func (w *world) described(cluster, name string) types.Service {
	w.t.Helper()
	out := apitest.Must(w.DescribeServices(w.t.Context(), &sdk.DescribeServicesInput{Cluster: &cluster,
		Services: []string{name}}))(w.t)
	if len(out.Services) != 1 {
		w.t.Fatalf("DescribeServices %s: failures %v", name, out.Failures)
	}
	return out.Services[0]
}

// discovery makes a Cloud Map service with these records and returns its ARN.
func (w *world) discovery(name string, records ...registry.RecordType) string {
	w.t.Helper()
	sc := arn.Scope{Account: account, Region: region}
	arn := ""
	w.write(func(tx *store.Tx) error {
		kind := registry.Private
		if len(records) == 0 {
			kind = registry.HTTP
		}
		op, err := registry.CreateNamespace(tx, sc, registry.NamespaceSpec{Kind: kind, Name: "corp-" + name, VPC: "vpc-1"},
			registry.NewCall(epoch))
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
		svc, err := registry.CreateService(tx, sc, spec, registry.NewCall(epoch))
		if err != nil {
			return err
		}
		arn = fmt.Sprintf("arn:aws:servicediscovery:%s:%s:service/%s", region, account, svc.ID)
		return nil
	})
	return arn
}

// errorText returns an error as "Code: message", or an empty string for nil.
func errorText(err error) string {
	var api smithy.APIError
	switch {
	case err == nil:
		return ""
	case !errors.As(err, &api):
		return "untyped: " + err.Error()
	}
	return strings.TrimSuffix(api.ErrorCode(), "Exception") + ": " + api.ErrorMessage()
}

// wantError fails the test unless a call returns the error want. A want that ends in "..." is a prefix:
//
//	wantError(w.CreateCluster(ctx, in))(t, "InvalidParameter: Invalid cluster name...")
func wantError[O any](_ *O, err error) func(t testing.TB, want string) {
	return func(t testing.TB, want string) {
		t.Helper()
		got := errorText(err)
		if prefix, ok := strings.CutSuffix(want, "..."); ok && strings.HasPrefix(got, prefix) {
			return
		}
		if got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

// diff compares shapes of the SDK, which all have an unexported mark.
func diff(want, got any) string {
	return cmp.Diff(want, got, cmp.FilterPath(func(p cmp.Path) bool {
		f, ok := p.Last().(cmp.StructField)
		return ok && f.Name() == "noSmithyDocumentSerde"
	}, cmp.Ignore()))
}
