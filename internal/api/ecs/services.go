package ecs

import (
	"bytes"
	"context"
	"reflect"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/ecs/codec"
	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/api/ecs/identifier"
	"github.com/bakingclouds/rollcall/internal/api/ecs/render"
	"github.com/bakingclouds/rollcall/internal/api/ecs/servicespec"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

func (a *api) createService(ctx context.Context, in *sdk.CreateServiceInput) (*sdk.CreateServiceOutput, error) {
	sc := awsapi.ScopeFrom(ctx)
	tags, err := tagsOf(in.Tags)
	if err != nil {
		return nil, err
	}
	cluster, err := identifier.ClusterName(sc, in.Cluster)
	if err != nil {
		return nil, err
	}
	in.Cluster = &cluster
	servicespec.FillDefaults(in)
	row := task.Service{
		Account: sc.Account, Region: sc.Region, Cluster: cluster, Name: aws.ToString(in.ServiceName), Status: task.Active,
		Request: servicespec.Fingerprint(in), Tags: tags,
	}
	row.Created = a.now()
	ids := task.NewDeploymentIDs()
	svc, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.Service, error) { return create(tx, row, *in, ids) })
	if err != nil {
		return nil, err
	}
	view, err := render.Service(a.db.Snapshot(), svc, true)
	return &sdk.CreateServiceOutput{Service: view}, err
}

// create writes a new service with its first deployment, unless the same request has done so.
func create(tx *store.Tx, svc task.Service, s servicespec.Spec, ids task.DeploymentIDs) (*task.Service, error) {
	sc, now := svc.Scope(), svc.Created
	cluster, err := task.UseCluster(tx, sc, svc.Cluster, now)
	if err != nil {
		return nil, err
	}
	servicespec.ChooseLaunch(&s, cluster)
	if err := ecserr.First(servicespec.Check(&s), servicespec.CheckStrategy(s.CapacityProviderStrategy, cluster.Providers)); err != nil {
		return nil, err
	}
	if old, err := task.ClaimService(tx, svc.Ref(), svc.Request); old != nil || err != nil {
		return old, err
	}
	def, err := activeDefinition(tx, sc, aws.ToString(s.TaskDefinition))
	if err != nil {
		return nil, err
	}
	registries, err := servicespec.CheckAgainst(tx, def, &s)
	if err != nil {
		return nil, err
	}
	servicespec.Keep(&svc, def, s)
	task.Deploy(tx, &svc, servicespec.NewDeployment(ids.Deployment, def, &s, registries, now),
		ids.ServiceDeployment, codec.Encode(s.DeploymentConfiguration), now)
	task.PutService(tx, svc)
	return &svc, nil
}

func (a *api) updateService(ctx context.Context, to *sdk.UpdateServiceInput) (*sdk.UpdateServiceOutput, error) {
	sc := awsapi.ScopeFrom(ctx)
	cluster, err := identifier.ClusterName(sc, to.Cluster)
	if err != nil {
		return nil, err
	}
	id, err := identifier.ParseIn(sc, cluster, "service", aws.ToString(to.Service))
	if err != nil {
		return nil, err
	}
	if aws.ToInt32(to.DesiredCount) < 0 {
		return nil, ecserr.Invalid("Task count can not be lesser than 0")
	}
	ids, now := task.NewDeploymentIDs(), a.now()
	svc, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.Service, error) {
		in, err := task.GetCluster(tx, sc, cluster)
		if err != nil {
			return nil, err
		}
		old, err := task.GetService(tx, task.ServiceRef{Scope: sc, Cluster: cluster, Name: id.Name})
		if err != nil {
			return nil, err
		}
		return change(tx, in, old, to, ids, now)
	})
	if err != nil {
		return nil, err
	}
	view, err := render.Service(a.db.Snapshot(), svc, true)
	return &sdk.UpdateServiceOutput{Service: view}, err
}

func (a *api) describeServices(ctx context.Context, in *sdk.DescribeServicesInput) (*sdk.DescribeServicesOutput, error) {
	sc, r := awsapi.ScopeFrom(ctx), a.db.Snapshot()
	cluster, err := activeCluster(r, sc, in.Cluster)
	switch {
	case err != nil:
		return nil, err
	case len(in.Services) == 0:
		return nil, ecserr.Invalid("Services cannot be empty.")
	case len(in.Services) > 10:
		return nil, ecserr.Invalid("At most 10 services can be described at once")
	}
	tags := slices.Contains(in.Include, types.ServiceFieldTags)
	out := &sdk.DescribeServicesOutput{Services: []types.Service{}, Failures: []types.Failure{}}
	for _, s := range in.Services {
		id, err := identifier.ParseIn(sc, cluster, "service", s)
		if err != nil {
			return nil, err
		}
		svc, ok := task.FindService(r, task.ServiceRef{Scope: sc, Cluster: cluster, Name: id.Name})
		if !ok {
			gone := task.Service{Account: sc.Account, Region: sc.Region, Cluster: cluster, Name: id.Name}
			out.Failures = append(out.Failures, missing(id, gone.ARN()))
			continue
		}
		view, err := render.Service(r, svc, tags)
		if err != nil {
			return nil, err
		}
		out.Services = append(out.Services, *view)
	}
	return out, nil
}

func (a *api) listServices(ctx context.Context, in *sdk.ListServicesInput) (*sdk.ListServicesOutput, error) {
	page, err := newList("ListServices", in.MaxResults, in.NextToken, 10, 100)
	if err != nil {
		return nil, err
	}
	sc, r := awsapi.ScopeFrom(ctx), a.db.Snapshot()
	cluster, err := activeCluster(r, sc, in.Cluster)
	if err == nil {
		err = ecserr.First(
			ecserr.OneOf("launch type", in.LaunchType, in.LaunchType.Values()),
			ecserr.OneOf("scheduling strategy", in.SchedulingStrategy, in.SchedulingStrategy.Values()),
			ecserr.OneOf("resource management type", in.ResourceManagementType, in.ResourceManagementType.Values()),
		)
	}
	if err != nil {
		return nil, err
	}
	none := in.ResourceManagementType == types.ResourceManagementTypeEcs
	task.ScanServices(r, task.ClusterRef{Scope: sc, Name: cluster}, page.after, func(s *task.Service) bool {
		if none || s.Status != task.Active || in.LaunchType != "" && string(in.LaunchType) != s.LaunchType {
			return true
		}
		if in.SchedulingStrategy != "" && (in.SchedulingStrategy == types.SchedulingStrategyDaemon) != s.Daemon {
			return true
		}
		return page.Add(s.Name, s.ARN())
	})
	return &sdk.ListServicesOutput{ServiceArns: page.Items, NextToken: page.next()}, nil
}

// listServicesByNamespace lists the services whose Service Connect is in a namespace. No service has Service
// Connect here, so that there is none of any namespace; those that are merely registered in one do not count.
func (a *api) listServicesByNamespace(ctx context.Context, in *sdk.ListServicesByNamespaceInput) (*sdk.ListServicesByNamespaceOutput, error) {
	page, err := newList("ListServicesByNamespace", in.MaxResults, in.NextToken, 10, 100)
	if err != nil {
		return nil, err
	}
	sc, name := awsapi.ScopeFrom(ctx), aws.ToString(in.Namespace)
	if !namespaceExists(a.db.Snapshot(), sc, name) {
		return nil, &types.NamespaceNotFoundException{Message: aws.String("Namespace not found: " + name)}
	}
	return &sdk.ListServicesByNamespaceOutput{ServiceArns: page.Items, NextToken: page.next()}, nil
}

// namespaceExists finds a Cloud Map namespace by its name or ARN.
func namespaceExists(r store.Reader, sc arn.Scope, s string) bool {
	in := arn.Scope{Account: sc.Account, Region: sc.Region}
	if !arn.Is(s) {
		found := false
		registry.ScanNamespaces(r, in, "", func(ns *registry.Namespace) bool {
			found = ns.Name == s
			return !found
		})
		return found
	}
	a, err := arn.Parse(s)
	kind, id := a.Split()
	if err != nil || a.Service != "servicediscovery" || kind != "namespace" || a.Account != sc.Account || a.Region != sc.Region {
		return false
	}
	_, err = registry.GetNamespace(r, in, id)
	return err == nil
}

func (a *api) deleteService(ctx context.Context, in *sdk.DeleteServiceInput) (*sdk.DeleteServiceOutput, error) {
	sc := awsapi.ScopeFrom(ctx)
	cluster, err := identifier.ClusterName(sc, in.Cluster)
	if err != nil {
		return nil, err
	}
	id, err := identifier.ParseIn(sc, cluster, "service", aws.ToString(in.Service))
	if err != nil {
		return nil, err
	}
	now := a.now()
	svc, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.Service, error) {
		if _, err := task.GetCluster(tx, sc, cluster); err != nil {
			return nil, err
		}
		return task.DeleteService(tx, task.ServiceRef{Scope: sc, Cluster: cluster, Name: id.Name}, aws.ToBool(in.Force), now)
	})
	if err != nil {
		return nil, err
	}
	view, err := render.Service(a.db.Snapshot(), svc, true)
	return &sdk.DeleteServiceOutput{Service: view}, err
}

// change lays an update over a service's settings, applies the rules to the whole, and starts a deployment
// if what tasks are made of differs. An update that says what is there already writes nothing.
func change(
	tx *store.Tx, cluster *task.Cluster, old *task.Service, in *sdk.UpdateServiceInput, ids task.DeploymentIDs, now time.Time,
) (*task.Service, error) {
	s, err := servicespec.Of(old)
	if err != nil {
		return nil, err
	}
	if s.DesiredCount = nil; !old.Daemon {
		s.DesiredCount = aws.Int32(int32(old.DesiredCount)) // the row's may have changed without a request
	}
	platform := aws.ToString(s.PlatformVersion)
	servicespec.Overlay(s, in)
	servicespec.FillDefaults(s)
	servicespec.ChooseLaunch(s, cluster)
	if err := ecserr.First(servicespec.Check(s), servicespec.CheckStrategy(in.CapacityProviderStrategy, cluster.Providers)); err != nil {
		return nil, err
	}
	primary := old.Primary()
	def, err := wanted(tx, old, in.TaskDefinition)
	if err != nil {
		return nil, err
	}
	registries, err := servicespec.CheckAgainst(tx, def, s)
	if err != nil {
		return nil, err
	}
	svc := *old
	servicespec.Keep(&svc, def, *s)
	if in.ForceNewDeployment ||
		def.Family != primary.Family || def.Revision != primary.Revision ||
		!servicespec.SameNetwork(primary.Network, servicespec.Network(s)) ||
		!slices.Equal(primary.Registries, registries) ||
		!servicespec.SameStrategy(primary.Strategy, servicespec.StrategyRow(s.CapacityProviderStrategy)) ||
		platform != aws.ToString(s.PlatformVersion) {
		task.Deploy(tx, &svc, servicespec.NewDeployment(ids.Deployment, def, s, registries, now),
			ids.ServiceDeployment, codec.Encode(s.DeploymentConfiguration), now)
	} else if sent := servicespec.Revision(def, s); svc.Primary().Sent != nil && !bytes.Equal(sent, svc.Primary().Sent) {
		svc.Deployments = slices.Clone(svc.Deployments)
		svc.Primary().Sent = sent
	}
	if reflect.DeepEqual(svc, *old) {
		return old, nil
	}
	if aws.ToString(s.ClientToken) == "" {
		svc.Request = "" // only a token tells a late repeat of the creation from another attempt
	}
	task.PutService(tx, svc)
	return &svc, nil
}

// wanted is the definition that an update names, or else the one that is deployed, which may be inactive.
func wanted(r store.Reader, svc *task.Service, named *string) (*task.Definition, error) {
	if aws.ToString(named) != "" {
		return activeDefinition(r, svc.Scope(), *named)
	}
	return task.GetDefinition(r, svc.Scope(), svc.Primary().Family, svc.Primary().Revision)
}
