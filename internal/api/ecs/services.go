package ecs

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
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
	cluster, err := clusterName(sc, in.Cluster)
	if err != nil {
		return nil, err
	}
	in.Cluster = &cluster
	fillDefaults(in)
	row := task.Service{
		Account: sc.Account, Region: sc.Region, Cluster: cluster, Name: aws.ToString(in.ServiceName), Status: task.Active,
		Request: fingerprint(in), Tags: tags,
	}
	svc, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.Service, error) { return a.create(tx, row, *in) })
	if err != nil {
		return nil, err
	}
	view, err := serviceView(a.db.Snapshot(), svc, true)
	return &sdk.CreateServiceOutput{Service: view}, err
}

// create writes a new service with its first deployment, unless the same request has done so.
func (a *api) create(tx *store.Tx, svc task.Service, s settings) (*task.Service, error) {
	sc, now := svc.Scope(), a.now()
	cluster, err := task.UseCluster(tx, sc, svc.Cluster, now)
	if err != nil {
		return nil, err
	}
	chooseLaunch(&s, cluster)
	if err := first(checkSettings(&s), checkStrategy(s.CapacityProviderStrategy, cluster.Providers)); err != nil {
		return nil, err
	}
	if old, err := task.ClaimService(tx, sc, svc.Cluster, svc.Name, svc.Request); old != nil || err != nil {
		return old, err
	}
	def, err := runnable(tx, sc, aws.ToString(s.TaskDefinition))
	if err != nil {
		return nil, err
	}
	registries, err := checkAgainst(tx, def, &s)
	if err != nil {
		return nil, err
	}
	svc.Created = now
	keep(&svc, def, s)
	task.Deploy(tx, &svc, deployment(def, &s, registries, now), wire.Append(nil, s.DeploymentConfiguration), now)
	task.PutService(tx, svc)
	return &svc, nil
}

func (a *api) updateService(ctx context.Context, to *sdk.UpdateServiceInput) (*sdk.UpdateServiceOutput, error) {
	sc := awsapi.ScopeFrom(ctx)
	cluster, err := clusterName(sc, to.Cluster)
	if err != nil {
		return nil, err
	}
	id, err := identifyIn(sc, cluster, "service", aws.ToString(to.Service))
	if err != nil {
		return nil, err
	}
	if aws.ToInt32(to.DesiredCount) < 0 {
		return nil, invalid("Task count can not be lesser than 0")
	}
	svc, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.Service, error) {
		in, err := task.GetCluster(tx, sc, cluster)
		if err != nil {
			return nil, err
		}
		old, err := task.GetService(tx, sc, cluster, id.name)
		if err != nil {
			return nil, err
		}
		return a.change(tx, in, old, to)
	})
	if err != nil {
		return nil, err
	}
	view, err := serviceView(a.db.Snapshot(), svc, true)
	return &sdk.UpdateServiceOutput{Service: view}, err
}

func (a *api) describeServices(ctx context.Context, in *sdk.DescribeServicesInput) (*sdk.DescribeServicesOutput, error) {
	sc, r := awsapi.ScopeFrom(ctx), a.db.Snapshot()
	cluster, err := activeCluster(r, sc, in.Cluster)
	switch {
	case err != nil:
		return nil, err
	case len(in.Services) == 0:
		return nil, invalid("Services cannot be empty.")
	case len(in.Services) > 10:
		return nil, invalid("At most 10 services can be described at once")
	}
	tags := slices.Contains(in.Include, types.ServiceFieldTags)
	out := &sdk.DescribeServicesOutput{Services: []types.Service{}, Failures: []types.Failure{}}
	for _, s := range in.Services {
		id, err := identifyIn(sc, cluster, "service", s)
		if err != nil {
			return nil, err
		}
		svc, ok := task.FindService(r, sc, cluster, id.name)
		if !ok {
			gone := task.Service{Account: sc.Account, Region: sc.Region, Cluster: cluster, Name: id.name}
			out.Failures = append(out.Failures, missing(id, gone.ARN()))
			continue
		}
		view, err := serviceView(r, svc, tags)
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
		err = first(
			oneOf("launch type", in.LaunchType, in.LaunchType.Values()),
			oneOf("scheduling strategy", in.SchedulingStrategy, in.SchedulingStrategy.Values()),
			oneOf("resource management type", in.ResourceManagementType, in.ResourceManagementType.Values()),
		)
	}
	if err != nil {
		return nil, err
	}
	none := in.ResourceManagementType == types.ResourceManagementTypeEcs
	task.ScanServices(r, sc, cluster, page.after, func(s *task.Service) bool {
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
	cluster, err := clusterName(sc, in.Cluster)
	if err != nil {
		return nil, err
	}
	id, err := identifyIn(sc, cluster, "service", aws.ToString(in.Service))
	if err != nil {
		return nil, err
	}
	svc, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.Service, error) {
		if _, err := task.GetCluster(tx, sc, cluster); err != nil {
			return nil, err
		}
		return task.DeleteService(tx, sc, cluster, id.name, aws.ToBool(in.Force), a.now())
	})
	if err != nil {
		return nil, err
	}
	view, err := serviceView(a.db.Snapshot(), svc, true)
	return &sdk.DeleteServiceOutput{Service: view}, err
}
