package ecs

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/api/ecs/identifier"
	"github.com/bakingclouds/rollcall/internal/api/ecs/render"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// stopTask stops a task whatever started it; a service replaces it.
func (a *api) stopTask(ctx context.Context, in *sdk.StopTaskInput) (*sdk.StopTaskOutput, error) {
	sc := awsapi.ScopeFrom(ctx)
	cluster, err := identifier.ClusterName(sc, in.Cluster)
	if err != nil {
		return nil, err
	}
	id, err := identifier.ParseIn(sc, cluster, "task", aws.ToString(in.Task))
	if err != nil {
		return nil, err
	}
	reason := aws.ToString(in.Reason)
	if reason == "" {
		reason = "Task stopped by user"
	}
	now := a.now()
	t, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.Task, error) {
		if _, err := task.GetCluster(tx, sc, cluster); err != nil {
			return nil, err
		}
		t, _, err := task.Stop(tx, task.Ref{Scope: sc, Cluster: cluster, ID: task.ID(id.Name)}, task.StopCause{Code: task.UserInitiated, Reason: reason}, now)
		return t, err
	})
	if err != nil {
		return nil, err
	}
	view, err := render.NewTasks(a.db.Snapshot(), a.zone).Task(t, true)
	return &sdk.StopTaskOutput{Task: view}, err
}

func (a *api) describeTasks(ctx context.Context, in *sdk.DescribeTasksInput) (*sdk.DescribeTasksOutput, error) {
	sc, r := awsapi.ScopeFrom(ctx), a.db.Snapshot()
	cluster, err := activeCluster(r, sc, in.Cluster)
	switch {
	case err != nil:
		return nil, err
	case len(in.Tasks) == 0:
		return nil, ecserr.Invalid("Tasks cannot be empty.")
	case len(in.Tasks) > 100:
		return nil, ecserr.Invalid("At most 100 tasks can be described at once")
	}
	out := &sdk.DescribeTasksOutput{Tasks: []types.Task{}, Failures: []types.Failure{}}
	views, tags := render.NewTasks(r, a.zone), slices.Contains(in.Include, types.TaskFieldTags)
	for _, s := range in.Tasks {
		id, err := identifier.ParseIn(sc, cluster, "task", s)
		if err != nil {
			return nil, err
		}
		t, err := task.GetTask(r, task.Ref{Scope: sc, Cluster: cluster, ID: task.ID(id.Name)})
		if fault.Is(err, fault.NotFound) {
			gone := task.Task{Account: sc.Account, Region: sc.Region, Cluster: cluster, ID: task.ID(id.Name)}
			out.Failures = append(out.Failures, missing(id, gone.ARN()))
			continue
		}
		if err != nil {
			return nil, err
		}
		view, err := views.Task(t, tags)
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
	task.ScanTasks(r, task.ClusterRef{Scope: sc, Name: cluster}, task.ID(page.after), func(t *task.Task) bool {
		return !match(t) || page.Add(string(t.ID), t.ARN())
	})
	return &sdk.ListTasksOutput{TaskArns: page.Items, NextToken: page.next()}, nil
}

// taskFilter reads ListTasks' filters. All that are given must hold.
func taskFilter(r store.Reader, sc arn.Scope, cluster string, in *sdk.ListTasksInput) (func(*task.Task) bool, error) {
	if err := ecserr.First(
		ecserr.OneOf("desired status", in.DesiredStatus, in.DesiredStatus.Values()),
		ecserr.OneOf("launch type", in.LaunchType, in.LaunchType.Values()),
	); err != nil {
		return nil, err
	}
	service := ""
	if in.ServiceName != nil {
		id, err := identifier.ParseIn(sc, cluster, "service", *in.ServiceName)
		if err != nil {
			return nil, err
		}
		if _, ok := task.FindService(r, task.ServiceRef{Scope: sc, Cluster: cluster, Name: id.Name}); !ok {
			return nil, &types.ServiceNotFoundException{Message: aws.String("Service not found.")}
		}
		service = id.Name
	}
	instance := ""
	if in.ContainerInstance != nil {
		id, err := identifier.ParseIn(sc, cluster, "container-instance", *in.ContainerInstance)
		if err != nil {
			return nil, err
		}
		instance = id.Name
	}
	desired := string(in.DesiredStatus)
	if desired == "" {
		desired = task.DesiredRunning
	}
	launches := render.NewLaunchTypes(r)
	return func(t *task.Task) bool {
		switch {
		case render.DesiredStatus(t) != desired,
			service != "" && t.Service != service,
			in.Family != nil && t.Family != *in.Family,
			in.StartedBy != nil && render.StartedBy(t) != *in.StartedBy,
			in.ContainerInstance != nil && (t.Node == "" || task.ContainerInstanceID(t.Node) != instance),
			in.LaunchType != "" && launches.Of(t) != in.LaunchType,
			in.DaemonName != nil:
			return false
		}
		return true
	}, nil
}

// executeCommand says why no session can be opened: it speaks the protocol of AWS Systems Manager's Session
// Manager, which this server does not. A session that leads nowhere would make the client hang instead.
func (a *api) executeCommand(ctx context.Context, in *sdk.ExecuteCommandInput) (*sdk.ExecuteCommandOutput, error) {
	sc, r := awsapi.ScopeFrom(ctx), a.db.Snapshot()
	cluster, err := activeCluster(r, sc, in.Cluster)
	if err != nil {
		return nil, err
	}
	id, err := identifier.ParseIn(sc, cluster, "task", aws.ToString(in.Task))
	if err != nil {
		return nil, err
	}
	if aws.ToString(in.Command) == "" {
		return nil, ecserr.Invalid("Command can not be blank.")
	}
	if !in.Interactive {
		return nil, ecserr.Invalid("Interactive is the only mode supported currently.")
	}
	return nil, a.noSession(r, sc, cluster, id.Name, aws.ToString(in.Container))
}

// noSession is why a task has no session.
func (a *api) noSession(r store.Reader, sc arn.Scope, cluster, id, container string) error {
	t, err := task.GetTask(r, task.Ref{Scope: sc, Cluster: cluster, ID: task.ID(id)})
	if err != nil {
		return err
	}
	def, err := task.GetDefinition(r, sc, t.Family, t.Revision)
	if err != nil {
		return err
	}
	_, known := def.Container(container)
	switch {
	case t.Observed.State != task.Running || !t.Live():
		return ecserr.Invalid("The execute command failed because the task is not RUNNING; it is %s.", t.Observed.State)
	case !t.ExecuteCommand:
		return ecserr.Invalid("The execute command failed because execute command was not enabled when the task was run or the execute command agent isn’t running. Wait and try again or run a new task with execute command enabled and try again.")
	case container == "" && len(def.Containers) > 1:
		return ecserr.Invalid("The task has several containers; name one.")
	case container != "" && !known:
		return ecserr.Invalid("The container %s does not exist in the task definition.", container)
	}
	return ecserr.NotConnected("The execute command failed because this server has no sessions of AWS Systems Manager. Run the command on the task's node %s.", t.Node)
}
