package ecs

import (
	"cmp"
	"context"
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
	"github.com/bakingclouds/rollcall/internal/clusterquery"
	"github.com/bakingclouds/rollcall/internal/placement"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// clusterInstances returns the container instances of a cluster in the order of their ids: all nodes that run tasks,
// including those that are deregistered from the cluster.
func clusterInstances(r store.Reader, cluster task.ClusterRef) []*task.ContainerInstance {
	var instances []*task.ContainerInstance
	for _, n := range task.Nodes(r) {
		if n.Runtime != task.NoRuntime {
			instances = append(instances, task.FindInstance(r, cluster, n.Name))
		}
	}
	slices.SortFunc(instances, func(a, b *task.ContainerInstance) int { return cmp.Compare(a.ID(), b.ID()) })
	return instances
}

// activeInstances returns the container instances that are not deregistered.
func activeInstances(r store.Reader, cluster task.ClusterRef) []*task.ContainerInstance {
	return slices.DeleteFunc(clusterInstances(r, cluster), func(c *task.ContainerInstance) bool {
		return c.Status == task.Inactive
	})
}

// findInstance returns the container instance with this id.
func findInstance(r store.Reader, cluster task.ClusterRef, id string) (*task.ContainerInstance, bool) {
	instances := clusterInstances(r, cluster)
	i := slices.IndexFunc(instances, func(c *task.ContainerInstance) bool { return c.ID() == id })
	if i < 0 {
		return nil, false
	}
	return instances[i], true
}

// missingInstance returns the failure for a container instance that does not exist.
func missingInstance(id identifier.ID) types.Failure {
	return missing(id, task.ContainerInstanceARN(id.ClusterRef(), id.Name))
}

func (a *api) listContainerInstances(ctx context.Context, in *sdk.ListContainerInstancesInput) (
	*sdk.ListContainerInstancesOutput, error,
) {
	page, err := newPage("ListContainerInstances", in.MaxResults, in.NextToken, 100, 100)
	if err != nil {
		return nil, err
	}
	snapshot := a.db.Snapshot()
	cluster, err := activeCluster(snapshot, awsapi.ScopeFrom(ctx), in.Cluster)
	if err := ecserr.First(err, ecserr.OneOf("status", in.Status, in.Status.Values())); err != nil {
		return nil, err
	}
	matchesFilter := func(*placement.Host) bool { return true }
	if filter := aws.ToString(in.Filter); filter != "" {
		expression, err := clusterquery.Parse(filter)
		if err != nil {
			return nil, ecserr.Invalid("Invalid filter: %v", err)
		}
		matchesFilter = func(h *placement.Host) bool { return expression.Match(h.QueryInstance()) }
	}
	inventory := placement.ReadInventory(snapshot)
	for _, instance := range clusterInstances(snapshot, cluster) {
		matchesStatus := string(in.Status) == instance.Status || in.Status == "" && instance.Status != task.Inactive
		if !matchesStatus || instance.ID() <= page.after {
			continue
		}
		if host, _ := inventory.Host(cluster, instance.ID()); !matchesFilter(host) {
			continue
		}
		if !page.Add(instance.ID(), instance.ARN()) {
			break
		}
	}
	return &sdk.ListContainerInstancesOutput{ContainerInstanceArns: page.Items, NextToken: page.next()}, nil
}

func (a *api) describeContainerInstances(ctx context.Context, in *sdk.DescribeContainerInstancesInput) (
	*sdk.DescribeContainerInstancesOutput, error,
) {
	snapshot := a.db.Snapshot()
	cluster, err := activeCluster(snapshot, awsapi.ScopeFrom(ctx), in.Cluster)
	switch {
	case err != nil:
		return nil, err
	case len(in.ContainerInstances) == 0:
		return nil, ecserr.Client("Container Instances cannot be empty.")
	case len(in.ContainerInstances) > 100:
		return nil, ecserr.Invalid("At most 100 container instances can be described at once")
	}
	for _, f := range in.Include {
		if err := ecserr.OneOf("include", f, f.Values()); err != nil {
			return nil, err
		}
	}
	out := &sdk.DescribeContainerInstancesOutput{
		ContainerInstances: []types.ContainerInstance{}, Failures: []types.Failure{},
	}
	inventory := placement.ReadInventory(snapshot)
	for _, s := range in.ContainerInstances {
		id, err := identifier.ParseIn(cluster, identifier.ContainerInstance, s)
		if err != nil {
			return nil, err
		}
		if _, ok := findInstance(snapshot, cluster, id.Name); !ok {
			out.Failures = append(out.Failures, missingInstance(id))
			continue
		}
		host, _ := inventory.Host(cluster, id.Name)
		out.ContainerInstances = append(out.ContainerInstances, render.ContainerInstance(snapshot, host, in.Include...))
	}
	return out, nil
}

// instanceChanges are the results of a call that changes container instances.
type instanceChanges struct {
	changed  []string // ids
	failures []types.Failure
}

// updateContainerInstancesState sets container instances to DRAINING or ACTIVE.
func (a *api) updateContainerInstancesState(ctx context.Context, in *sdk.UpdateContainerInstancesStateInput) (
	*sdk.UpdateContainerInstancesStateOutput, error,
) {
	cluster, err := identifier.ParseCluster(awsapi.ScopeFrom(ctx), in.Cluster)
	switch {
	case err != nil:
		return nil, err
	case len(in.ContainerInstances) == 0:
		return nil, ecserr.Client("Container Instances cannot be empty.")
	case len(in.ContainerInstances) > 10:
		return nil, ecserr.Invalid("At most 10 container instances can be named at once")
	case in.Status != types.ContainerInstanceStatusActive && in.Status != types.ContainerInstanceStatusDraining:
		return nil, ecserr.Invalid("Container instance status should be one of [ACTIVE, DRAINING]")
	}
	drain := in.Status == types.ContainerInstanceStatusDraining
	result, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (instanceChanges, error) {
		return drainInstances(tx, cluster, in.ContainerInstances, drain)
	})
	if err != nil {
		return nil, err
	}
	out := &sdk.UpdateContainerInstancesStateOutput{
		ContainerInstances: []types.ContainerInstance{}, Failures: codec.OrEmpty(result.failures),
	}
	snapshot := a.db.Snapshot()
	inventory := placement.ReadInventory(snapshot)
	for _, id := range result.changed {
		if host, ok := inventory.Host(cluster, id); ok {
			view := render.ContainerInstance(snapshot, host, types.ContainerInstanceFieldTags)
			out.ContainerInstances = append(out.ContainerInstances, view)
		}
	}
	return out, nil
}

// drainInstances drains container instances, or sets them to ACTIVE again.
func drainInstances(tx *store.Tx, cluster task.ClusterRef, instances []string, drain bool) (instanceChanges, error) {
	var result instanceChanges
	if _, err := task.GetCluster(tx, cluster.Scope, cluster.Name); err != nil {
		return result, err
	}
	for _, s := range instances {
		id, err := identifier.ParseIn(cluster, identifier.ContainerInstance, s)
		if err != nil {
			return result, err
		}
		instance, ok := findInstance(tx, cluster, id.Name)
		switch {
		case !ok:
			result.failures = append(result.failures, missingInstance(id))
		case instance.Status == task.Inactive:
			result.failures = append(result.failures, types.Failure{
				Arn: aws.String(instance.ARN()), Reason: aws.String(task.Inactive),
			})
		default:
			task.SetInstanceDraining(tx, *instance, drain)
			result.changed = append(result.changed, id.Name)
		}
	}
	return result, nil
}

// reasonDeregistered is the stopped reason of tasks on a container instance that is deregistered by force (ECS
// Developer Guide, "Stopped tasks error messages").
const reasonDeregistered = "Container instance deregistration forced by user"

func (a *api) deregisterContainerInstance(ctx context.Context, in *sdk.DeregisterContainerInstanceInput) (
	*sdk.DeregisterContainerInstanceOutput, error,
) {
	scope := awsapi.ScopeFrom(ctx)
	id, err := identifier.ParseResource(scope, in.Cluster, identifier.ContainerInstance, in.ContainerInstance)
	if err != nil {
		return nil, err
	}
	cluster := id.ClusterRef()
	now := a.now()
	_, err = updatePlacement(ctx, a, func(tx *store.Tx) (*task.ContainerInstance, error) {
		if _, err := task.GetCluster(tx, cluster.Scope, cluster.Name); err != nil {
			return nil, err
		}
		instance, ok := findInstance(tx, cluster, id.Name)
		switch {
		case !ok:
			return nil, ecserr.Invalid("The referenced container instance was not found.")
		case instance.Status == task.Inactive:
			return instance, nil
		}
		return deregister(tx, instance, aws.ToBool(in.Force), now)
	})
	if err != nil {
		return nil, err
	}
	snapshot := a.db.Snapshot()
	host, _ := placement.ReadInventory(snapshot).Host(cluster, id.Name)
	view := render.ContainerInstance(snapshot, host, types.ContainerInstanceFieldTags)
	return &sdk.DeregisterContainerInstanceOutput{ContainerInstance: &view}, nil
}

// deregister removes a container instance from its cluster. It fails if the instance has tasks, unless force is set:
// then the node's agent stops them. If the node's server is not running, they are marked as stopped instead.
func deregister(tx *store.Tx, instance *task.ContainerInstance, force bool, now time.Time) (
	*task.ContainerInstance, error,
) {
	live := task.Live(tx, instance.Node)
	cause := task.StopCause{Code: task.UserInitiated, Reason: reasonDeregistered}
	for _, t := range task.TasksOn(tx.Snapshot(), instance.Node) {
		if t.Region != instance.Region || t.Cluster != instance.Cluster || t.Observed.State == task.Stopped {
			continue
		}
		if !force {
			return nil, ecserr.Invalid("Found running tasks on the instance.")
		}
		var err error
		if live {
			_, _, err = task.Stop(tx, t.Ref(), cause, now)
		} else {
			err = task.ForceStop(tx, t.Ref(), cause, now)
		}
		if err != nil {
			return nil, err
		}
	}
	return task.DeregisterInstance(tx, *instance), nil
}
