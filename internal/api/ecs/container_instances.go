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
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/clusterquery"
	"github.com/bakingclouds/rollcall/internal/placement"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// clusterInstances are the container instances of a cluster: the nodes that run tasks, those that are deregistered
// among them, in the order of their ids.
func clusterInstances(r store.Reader, sc arn.Scope, cluster string) []*task.ContainerInstance {
	var cs []*task.ContainerInstance
	for _, n := range task.Nodes(r) {
		if n.Runtime != task.NoRuntime {
			cs = append(cs, task.FindInstance(r, task.ClusterRef{Scope: sc, Name: cluster}, n.Name))
		}
	}
	slices.SortFunc(cs, func(a, b *task.ContainerInstance) int { return cmp.Compare(a.ID(), b.ID()) })
	return cs
}

// activeInstances are those that are not deregistered.
func activeInstances(r store.Reader, sc arn.Scope, cluster string) []*task.ContainerInstance {
	return slices.DeleteFunc(clusterInstances(r, sc, cluster), func(c *task.ContainerInstance) bool { return c.Status == task.Inactive })
}

// findInstance finds a container instance by its id.
func findInstance(r store.Reader, sc arn.Scope, cluster, id string) (*task.ContainerInstance, bool) {
	cs := clusterInstances(r, sc, cluster)
	i := slices.IndexFunc(cs, func(c *task.ContainerInstance) bool { return c.ID() == id })
	if i < 0 {
		return nil, false
	}
	return cs[i], true
}

// missingInstance is the failure for a container instance that is not there.
func missingInstance(sc arn.Scope, cluster string, id identifier.ID) types.Failure {
	return missing(id, task.ContainerInstanceARNOf(task.ClusterRef{Scope: sc, Name: cluster}, id.Name))
}

func (a *api) listContainerInstances(ctx context.Context, in *sdk.ListContainerInstancesInput) (*sdk.ListContainerInstancesOutput, error) {
	page, err := newList("ListContainerInstances", in.MaxResults, in.NextToken, 100, 100)
	if err != nil {
		return nil, err
	}
	sc, s := awsapi.ScopeFrom(ctx), a.db.Snapshot()
	cluster, err := activeCluster(s, sc, in.Cluster)
	if err == nil {
		err = ecserr.OneOf("status", in.Status, in.Status.Values())
	}
	if err != nil {
		return nil, err
	}
	match := func(*placement.Host) bool { return true }
	if filter := aws.ToString(in.Filter); filter != "" {
		e, err := clusterquery.Parse(filter)
		if err != nil {
			return nil, ecserr.Invalid("Invalid filter: %v", err)
		}
		match = func(h *placement.Host) bool { return e.Match(h.QueryInstance()) }
	}
	inventory := placement.ReadInventory(s)
	for _, c := range clusterInstances(s, sc, cluster) {
		wanted := string(in.Status) == c.Status || in.Status == "" && c.Status != task.Inactive
		if h, _ := inventory.Host(task.ClusterRef{Scope: sc, Name: cluster}, c.ID()); !wanted || c.ID() <= page.after || !match(h) {
			continue
		}
		if !page.Add(c.ID(), c.ARN()) {
			break
		}
	}
	return &sdk.ListContainerInstancesOutput{ContainerInstanceArns: page.Items, NextToken: page.next()}, nil
}

func (a *api) describeContainerInstances(ctx context.Context, in *sdk.DescribeContainerInstancesInput) (*sdk.DescribeContainerInstancesOutput, error) {
	sc, s := awsapi.ScopeFrom(ctx), a.db.Snapshot()
	cluster, err := activeCluster(s, sc, in.Cluster)
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
	out := &sdk.DescribeContainerInstancesOutput{ContainerInstances: []types.ContainerInstance{}, Failures: []types.Failure{}}
	inventory := placement.ReadInventory(s)
	for _, instance := range in.ContainerInstances {
		id, err := identifier.ParseIn(sc, cluster, "container-instance", instance)
		if err != nil {
			return nil, err
		}
		if _, ok := findInstance(s, sc, cluster, id.Name); !ok {
			out.Failures = append(out.Failures, missingInstance(sc, cluster, id))
			continue
		}
		h, _ := inventory.Host(task.ClusterRef{Scope: sc, Name: cluster}, id.Name)
		out.ContainerInstances = append(out.ContainerInstances, render.ContainerInstance(s, h, in.Include...))
	}
	return out, nil
}

// updateContainerInstancesState drains container instances or takes them into service again.
func (a *api) updateContainerInstancesState(ctx context.Context, in *sdk.UpdateContainerInstancesStateInput) (*sdk.UpdateContainerInstancesStateOutput, error) {
	sc := awsapi.ScopeFrom(ctx)
	cluster, err := identifier.ClusterName(sc, in.Cluster)
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
	type result struct {
		changed  []string // ids
		failures []types.Failure
	}
	got, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (result, error) {
		var got result
		if _, err := task.GetCluster(tx, sc, cluster); err != nil {
			return got, err
		}
		for _, instance := range in.ContainerInstances {
			id, err := identifier.ParseIn(sc, cluster, "container-instance", instance)
			if err != nil {
				return got, err
			}
			c, ok := findInstance(tx, sc, cluster, id.Name)
			switch {
			case !ok:
				got.failures = append(got.failures, missingInstance(sc, cluster, id))
			case c.Status == task.Inactive:
				got.failures = append(got.failures, types.Failure{Arn: aws.String(c.ARN()), Reason: aws.String(task.Inactive)})
			default:
				task.DrainInstance(tx, *c, in.Status == types.ContainerInstanceStatusDraining)
				got.changed = append(got.changed, id.Name)
			}
		}
		return got, nil
	})
	if err != nil {
		return nil, err
	}
	out := &sdk.UpdateContainerInstancesStateOutput{ContainerInstances: []types.ContainerInstance{}, Failures: codec.OrEmpty(got.failures)}
	s := a.db.Snapshot()
	inventory := placement.ReadInventory(s)
	for _, id := range got.changed {
		if h, ok := inventory.Host(task.ClusterRef{Scope: sc, Name: cluster}, id); ok {
			out.ContainerInstances = append(out.ContainerInstances, render.ContainerInstance(s, h, types.ContainerInstanceFieldTags))
		}
	}
	return out, nil
}

// Of a forced deregistration (ECS Developer Guide, "Stopped tasks error messages").
const reasonDeregistered = "Container instance deregistration forced by user"

func (a *api) deregisterContainerInstance(ctx context.Context, in *sdk.DeregisterContainerInstanceInput) (*sdk.DeregisterContainerInstanceOutput, error) {
	sc := awsapi.ScopeFrom(ctx)
	cluster, err := identifier.ClusterName(sc, in.Cluster)
	if err != nil {
		return nil, err
	}
	id, err := identifier.ParseIn(sc, cluster, "container-instance", aws.ToString(in.ContainerInstance))
	if err != nil {
		return nil, err
	}
	now := a.now()
	_, err = placing(ctx, a, func(tx *store.Tx) (*task.ContainerInstance, error) {
		if _, err := task.GetCluster(tx, sc, cluster); err != nil {
			return nil, err
		}
		c, ok := findInstance(tx, sc, cluster, id.Name)
		switch {
		case !ok:
			return nil, ecserr.Invalid("The referenced container instance was not found.")
		case c.Status == task.Inactive:
			return c, nil
		}
		return deregister(tx, c, aws.ToBool(in.Force), now)
	})
	if err != nil {
		return nil, err
	}
	s := a.db.Snapshot()
	h, _ := placement.ReadInventory(s).Host(task.ClusterRef{Scope: sc, Name: cluster}, id.Name)
	view := render.ContainerInstance(s, h, types.ContainerInstanceFieldTags)
	return &sdk.DeregisterContainerInstanceOutput{ContainerInstance: &view}, nil
}

// deregister takes a container instance out of its cluster. By force its tasks there are stopped: by the node's agent
// as any others, or given up where there is none that could.
func deregister(tx *store.Tx, c *task.ContainerInstance, force bool, now time.Time) (*task.ContainerInstance, error) {
	live := task.Live(tx, c.Node)
	for _, t := range task.TasksOn(tx.Snapshot(), c.Node) {
		if t.Region != c.Region || t.Cluster != c.Cluster || t.Observed.State == task.Stopped {
			continue
		}
		if !force {
			return nil, ecserr.Invalid("Found running tasks on the instance.")
		}
		var err error
		if live {
			_, _, err = task.Stop(tx, t.Ref(), task.StopCause{Code: task.UserInitiated, Reason: reasonDeregistered}, now)
		} else {
			err = task.GiveUp(tx, t.Ref(), task.StopCause{Code: task.UserInitiated, Reason: reasonDeregistered}, now)
		}
		if err != nil {
			return nil, err
		}
	}
	return task.Deregister(tx, *c), nil
}
