package ecs

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// stopTask stops a task whatever started it; a service replaces it.
func (a *api) stopTask(ctx context.Context, in *sdk.StopTaskInput) (*sdk.StopTaskOutput, error) {
	sc := awsapi.ScopeFrom(ctx)
	cluster, err := clusterName(sc, in.Cluster)
	if err != nil {
		return nil, err
	}
	id, err := identifyIn(sc, cluster, "task", aws.ToString(in.Task))
	if err != nil {
		return nil, err
	}
	reason := aws.ToString(in.Reason)
	if reason == "" {
		reason = "Task stopped by user"
	}
	t, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.Task, error) {
		if _, err := task.GetCluster(tx, sc, cluster); err != nil {
			return nil, err
		}
		t, _, err := task.Stop(tx, sc, cluster, id.name, task.UserInitiated, reason, a.now())
		return t, err
	})
	if err != nil {
		return nil, err
	}
	view, err := a.taskViews(a.db.Snapshot()).view(t, true)
	return &sdk.StopTaskOutput{Task: view}, err
}

func (a *api) describeTasks(ctx context.Context, in *sdk.DescribeTasksInput) (*sdk.DescribeTasksOutput, error) {
	sc, r := awsapi.ScopeFrom(ctx), a.db.Snapshot()
	cluster, err := activeCluster(r, sc, in.Cluster)
	switch {
	case err != nil:
		return nil, err
	case len(in.Tasks) == 0:
		return nil, invalid("Tasks cannot be empty.")
	case len(in.Tasks) > 100:
		return nil, invalid("At most 100 tasks can be described at once")
	}
	out := &sdk.DescribeTasksOutput{Tasks: []types.Task{}, Failures: []types.Failure{}}
	views, tags := a.taskViews(r), slices.Contains(in.Include, types.TaskFieldTags)
	for _, s := range in.Tasks {
		id, err := identifyIn(sc, cluster, "task", s)
		if err != nil {
			return nil, err
		}
		t, err := task.GetTask(r, sc, cluster, id.name)
		if fault.Is(err, fault.NotFound) {
			gone := task.Task{Account: sc.Account, Region: sc.Region, Cluster: cluster, ID: id.name}
			out.Failures = append(out.Failures, missing(id, gone.ARN()))
			continue
		}
		if err != nil {
			return nil, err
		}
		view, err := views.view(t, tags)
		if err != nil {
			return nil, err
		}
		out.Tasks = append(out.Tasks, *view)
	}
	return out, nil
}

func (a *api) listTasks(ctx context.Context, in *sdk.ListTasksInput) (*sdk.ListTasksOutput, error) {
	page, err := newList("ListTasks", in.MaxResults, in.NextToken, 100, 100)
	if err != nil {
		return nil, err
	}
	sc, r := awsapi.ScopeFrom(ctx), a.db.Snapshot()
	cluster, err := activeCluster(r, sc, in.Cluster)
	if err != nil {
		return nil, err
	}
	match, err := taskFilter(r, sc, cluster, in)
	if err != nil {
		return nil, err
	}
	task.ScanTasks(r, sc, cluster, page.after, func(t *task.Task) bool {
		return !match(t) || page.Add(t.ID, t.ARN())
	})
	return &sdk.ListTasksOutput{TaskArns: page.Items, NextToken: page.next()}, nil
}

// taskFilter reads ListTasks' filters. All that are given must hold.
func taskFilter(r store.Reader, sc arn.Scope, cluster string, in *sdk.ListTasksInput) (func(*task.Task) bool, error) {
	if err := first(
		oneOf("desired status", in.DesiredStatus, in.DesiredStatus.Values()),
		oneOf("launch type", in.LaunchType, in.LaunchType.Values()),
	); err != nil {
		return nil, err
	}
	service := ""
	if in.ServiceName != nil {
		id, err := identifyIn(sc, cluster, "service", *in.ServiceName)
		if err != nil {
			return nil, err
		}
		if _, ok := task.FindService(r, sc, cluster, id.name); !ok {
			return nil, &types.ServiceNotFoundException{Message: aws.String("Service not found.")}
		}
		service = id.name
	}
	instance := ""
	if in.ContainerInstance != nil {
		id, err := identifyIn(sc, cluster, "container-instance", *in.ContainerInstance)
		if err != nil {
			return nil, err
		}
		instance = id.name
	}
	desired := string(in.DesiredStatus)
	if desired == "" {
		desired = task.DesiredRunning
	}
	launches := launchTypes{r: r, services: map[string]types.LaunchType{}}
	return func(t *task.Task) bool {
		switch {
		case desiredStatus(t) != desired,
			service != "" && t.Service != service,
			in.Family != nil && t.Family != *in.Family,
			in.StartedBy != nil && startedBy(t) != *in.StartedBy,
			in.ContainerInstance != nil && (t.Node == "" || task.ContainerInstanceID(t.Node) != instance),
			in.LaunchType != "" && launches.of(t) != in.LaunchType,
			in.DaemonName != nil:
			return false
		}
		return true
	}, nil
}
