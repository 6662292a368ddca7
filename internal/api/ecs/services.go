package ecs

import (
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
	scope := awsapi.ScopeFrom(ctx)
	tags, err := tagsOf(in.Tags)
	if err != nil {
		return nil, err
	}
	cluster, err := identifier.ParseCluster(scope, in.Cluster)
	if err != nil {
		return nil, err
	}
	in.Cluster = &cluster.Name
	servicespec.FillDefaults(in)
	row := task.Service{
		Account: scope.Account, Region: scope.Region, Cluster: cluster.Name, Name: aws.ToString(in.ServiceName),
		Status: task.Active, Request: codec.Digest(in), Tags: tags, Created: a.now(),
	}
	ids := task.NewDeploymentIDs()
	svc, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.Service, error) {
		return insertService(tx, row, *in, ids)
	})
	if err != nil {
		return nil, err
	}
	view, err := render.Service(a.db.Snapshot(), svc, true)
	return &sdk.CreateServiceOutput{Service: view}, err
}

// insertService writes a new service with its first deployment. It returns the stored service if the same request has
// created it before.
func insertService(tx *store.Tx, svc task.Service, spec servicespec.Spec, ids task.DeploymentIDs) (
	*task.Service, error,
) {
	scope, now := svc.Scope(), svc.Created
	cluster, err := task.UseCluster(tx, scope, svc.Cluster, now)
	if err != nil {
		return nil, err
	}
	servicespec.ChooseLaunchType(&spec, cluster)
	if err := ecserr.First(
		servicespec.Check(&spec), servicespec.CheckStrategy(spec.CapacityProviderStrategy, cluster.Providers),
	); err != nil {
		return nil, err
	}
	if stored, err := task.ReserveServiceName(tx, svc.Ref(), svc.Request); stored != nil || err != nil {
		return stored, err
	}
	def, err := activeDefinition(tx, scope, aws.ToString(spec.TaskDefinition))
	if err != nil {
		return nil, err
	}
	registries, err := servicespec.CheckReferences(tx, def, &spec)
	if err != nil {
		return nil, err
	}
	servicespec.SetRow(&svc, def, spec)
	deployment := servicespec.NewDeployment(ids.Deployment, def, &spec, registries, now)
	task.Deploy(tx, &svc, deployment, ids.ServiceDeployment, codec.Encode(spec.DeploymentConfiguration), now)
	task.PutService(tx, svc)
	return &svc, nil
}

func (a *api) updateService(ctx context.Context, in *sdk.UpdateServiceInput) (*sdk.UpdateServiceOutput, error) {
	id, err := identifier.ParseResource(awsapi.ScopeFrom(ctx), in.Cluster, identifier.Service, in.Service)
	if err != nil {
		return nil, err
	}
	if aws.ToInt32(in.DesiredCount) < 0 {
		return nil, ecserr.Invalid("Task count can not be lesser than 0")
	}
	ids, now := task.NewDeploymentIDs(), a.now()
	svc, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.Service, error) {
		cluster, err := task.GetCluster(tx, id.Scope, id.Cluster)
		if err != nil {
			return nil, err
		}
		stored, err := task.GetService(tx, id.ServiceRef())
		if err != nil {
			return nil, err
		}
		return changeService(tx, stored, in, cluster, ids, now)
	})
	if err != nil {
		return nil, err
	}
	view, err := render.Service(a.db.Snapshot(), svc, true)
	return &sdk.UpdateServiceOutput{Service: view}, err
}

// changeService writes the stored service as an update changes it, with another deployment if its tasks have to be
// replaced. It writes nothing if the service is already as requested.
func changeService(
	tx *store.Tx, stored *task.Service, request *sdk.UpdateServiceInput, cluster *task.Cluster,
	ids task.DeploymentIDs, now time.Time,
) (*task.Service, error) {
	current, err := servicespec.Of(stored)
	if err != nil {
		return nil, err
	}
	desired, err := servicespec.Desired(current, request, cluster)
	if err != nil {
		return nil, err
	}
	def, err := desiredDefinition(tx, stored, request.TaskDefinition)
	if err != nil {
		return nil, err
	}
	registries, err := servicespec.CheckReferences(tx, def, desired)
	if err != nil {
		return nil, err
	}
	changed := *stored
	servicespec.SetRow(&changed, def, *desired)
	if request.ForceNewDeployment || servicespec.NeedsDeployment(stored.Primary(), current, desired, def, registries) {
		deployment := servicespec.NewDeployment(ids.Deployment, def, desired, registries, now)
		configuration := codec.Encode(desired.DeploymentConfiguration)
		task.Deploy(tx, &changed, deployment, ids.ServiceDeployment, configuration, now)
	} else {
		servicespec.SetRevision(&changed, def, desired)
	}
	if reflect.DeepEqual(changed, *stored) {
		return stored, nil
	}
	if aws.ToString(desired.ClientToken) == "" {
		// Without a token, a late repetition of CreateService looks like an attempt to create another service.
		changed.Request = ""
	}
	task.PutService(tx, changed)
	return &changed, nil
}

// desiredDefinition returns the task definition that an update names, which must be active, or the deployed one, which
// may be inactive.
func desiredDefinition(r store.Reader, stored *task.Service, name *string) (*task.Definition, error) {
	if aws.ToString(name) != "" {
		return activeDefinition(r, stored.Scope(), *name)
	}
	primary := stored.Primary()
	return task.GetDefinition(r, stored.Scope(), primary.Family, primary.Revision)
}

func (a *api) describeServices(ctx context.Context, in *sdk.DescribeServicesInput) (
	*sdk.DescribeServicesOutput, error,
) {
	r := a.db.Snapshot()
	cluster, err := activeCluster(r, awsapi.ScopeFrom(ctx), in.Cluster)
	switch {
	case err != nil:
		return nil, err
	case len(in.Services) == 0:
		return nil, ecserr.Invalid("Services cannot be empty.")
	case len(in.Services) > 10:
		return nil, ecserr.Invalid("At most 10 services can be described at once")
	}
	withTags := slices.Contains(in.Include, types.ServiceFieldTags)
	out := &sdk.DescribeServicesOutput{Services: []types.Service{}, Failures: []types.Failure{}}
	for _, s := range in.Services {
		id, err := identifier.ParseIn(cluster, identifier.Service, s)
		if err != nil {
			return nil, err
		}
		svc, ok := task.FindService(r, id.ServiceRef())
		if !ok {
			out.Failures = append(out.Failures, missing(id, id.ServiceRef().ARN()))
			continue
		}
		view, err := render.Service(r, svc, withTags)
		if err != nil {
			return nil, err
		}
		out.Services = append(out.Services, *view)
	}
	return out, nil
}

func (a *api) listServices(ctx context.Context, in *sdk.ListServicesInput) (*sdk.ListServicesOutput, error) {
	page, err := newPage("ListServices", in.MaxResults, in.NextToken, 10, 100)
	if err != nil {
		return nil, err
	}
	r := a.db.Snapshot()
	cluster, err := activeCluster(r, awsapi.ScopeFrom(ctx), in.Cluster)
	if err := ecserr.First(
		err,
		ecserr.OneOf("launch type", in.LaunchType, in.LaunchType.Values()),
		ecserr.OneOf("scheduling strategy", in.SchedulingStrategy, in.SchedulingStrategy.Values()),
		ecserr.OneOf("resource management type", in.ResourceManagementType, in.ResourceManagementType.Values()),
	); err != nil {
		return nil, err
	}
	task.ScanServices(r, cluster, page.after, func(svc *task.Service) bool {
		return !matchesService(in, svc) || page.Add(svc.Name, svc.ARN())
	})
	return &sdk.ListServicesOutput{ServiceArns: page.Items, NextToken: page.next()}, nil
}

// matchesService applies the filters of ListServices. Only customers manage the resources of services here.
func matchesService(in *sdk.ListServicesInput, svc *task.Service) bool {
	wantsDaemons := in.SchedulingStrategy == types.SchedulingStrategyDaemon
	return svc.Status == task.Active &&
		in.ResourceManagementType != types.ResourceManagementTypeEcs &&
		(in.LaunchType == "" || string(in.LaunchType) == svc.LaunchType) &&
		(in.SchedulingStrategy == "" || wantsDaemons == svc.Daemon)
}

// listServicesByNamespace returns the services that use Service Connect in a namespace. Rollcall has no Service
// Connect, so the list is empty for every namespace that exists. Services that are registered in the namespace do not
// count.
func (a *api) listServicesByNamespace(ctx context.Context, in *sdk.ListServicesByNamespaceInput) (
	*sdk.ListServicesByNamespaceOutput, error,
) {
	page, err := newPage("ListServicesByNamespace", in.MaxResults, in.NextToken, 10, 100)
	if err != nil {
		return nil, err
	}
	name := aws.ToString(in.Namespace)
	if !namespaceExists(a.db.Snapshot(), awsapi.ScopeFrom(ctx), name) {
		return nil, &types.NamespaceNotFoundException{Message: aws.String("Namespace not found: " + name)}
	}
	return &sdk.ListServicesByNamespaceOutput{ServiceArns: page.Items, NextToken: page.next()}, nil
}

// namespaceExists reports whether a Cloud Map namespace has the name or ARN s.
func namespaceExists(r store.Reader, scope arn.Scope, s string) bool {
	if !arn.Is(s) {
		found := false
		registry.ScanNamespaces(r, scope, "", func(ns *registry.Namespace) bool {
			found = ns.Name == s
			return !found
		})
		return found
	}
	a, err := arn.Parse(s)
	kind, id := a.Split()
	if err != nil || a.Service != "servicediscovery" || kind != "namespace" ||
		a.Account != scope.Account || a.Region != scope.Region {
		return false
	}
	_, err = registry.GetNamespace(r, scope, id)
	return err == nil
}

func (a *api) deleteService(ctx context.Context, in *sdk.DeleteServiceInput) (*sdk.DeleteServiceOutput, error) {
	id, err := identifier.ParseResource(awsapi.ScopeFrom(ctx), in.Cluster, identifier.Service, in.Service)
	if err != nil {
		return nil, err
	}
	now := a.now()
	svc, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.Service, error) {
		if _, err := task.GetCluster(tx, id.Scope, id.Cluster); err != nil {
			return nil, err
		}
		return task.DeleteService(tx, id.ServiceRef(), aws.ToBool(in.Force), now)
	})
	if err != nil {
		return nil, err
	}
	view, err := render.Service(a.db.Snapshot(), svc, true)
	return &sdk.DeleteServiceOutput{Service: view}, err
}
