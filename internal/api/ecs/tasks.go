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
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// stopTask stops a standalone task or a task of a service, which then starts another one.
func (a *api) stopTask(ctx context.Context, in *sdk.StopTaskInput) (*sdk.StopTaskOutput, error) {
	id, err := identifier.ParseResource(awsapi.ScopeFrom(ctx), in.Cluster, identifier.Task, in.Task)
	if err != nil {
		return nil, err
	}
	cause := task.StopCause{Code: task.UserInitiated, Reason: aws.ToString(in.Reason)}
	if cause.Reason == "" {
		cause.Reason = "Task stopped by user"
	}
	now := a.now()
	stopped, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.Task, error) {
		if _, err := task.GetCluster(tx, id.Scope, id.Cluster); err != nil {
			return nil, err
		}
		stopped, _, err := task.Stop(tx, id.TaskRef(), cause, now)
		return stopped, err
	})
	if err != nil {
		return nil, err
	}
	view, err := render.NewTasks(a.db.Snapshot(), a.zone).Task(stopped, true)
	return &sdk.StopTaskOutput{Task: view}, err
}

func (a *api) describeTasks(ctx context.Context, in *sdk.DescribeTasksInput) (*sdk.DescribeTasksOutput, error) {
	r := a.db.Snapshot()
	cluster, err := activeCluster(r, awsapi.ScopeFrom(ctx), in.Cluster)
	switch {
	case err != nil:
		return nil, err
	case len(in.Tasks) == 0:
		return nil, ecserr.Invalid("Tasks cannot be empty.")
	case len(in.Tasks) > 100:
		return nil, ecserr.Invalid("At most 100 tasks can be described at once")
	}
	out := &sdk.DescribeTasksOutput{Tasks: []types.Task{}, Failures: []types.Failure{}}
	views, withTags := render.NewTasks(r, a.zone), slices.Contains(in.Include, types.TaskFieldTags)
	for _, s := range in.Tasks {
		id, err := identifier.ParseIn(cluster, identifier.Task, s)
		if err != nil {
			return nil, err
		}
		t, err := task.GetTask(r, id.TaskRef())
		if fault.Is(err, fault.NotFound) {
			out.Failures = append(out.Failures, missing(id, id.TaskRef().ARN()))
			continue
		}
		if err != nil {
			return nil, err
		}
		view, err := views.Task(t, withTags)
		if err != nil {
			return nil, err
		}
		out.Tasks = append(out.Tasks, *view)
	}
	return out, nil
}

func (a *api) listTasks(ctx context.Context, in *sdk.ListTasksInput) (*sdk.ListTasksOutput, error) {
	page, err := newPage("ListTasks", in.MaxResults, in.NextToken, 100, 100)
	if err != nil {
		return nil, err
	}
	r := a.db.Snapshot()
	cluster, err := activeCluster(r, awsapi.ScopeFrom(ctx), in.Cluster)
	if err != nil {
		return nil, err
	}
	filter, err := newTaskFilter(r, cluster, in)
	if err != nil {
		return nil, err
	}
	task.ScanTasks(r, cluster, task.ID(page.after), func(t *task.Task) bool {
		return !filter.matches(t) || page.Add(string(t.ID), t.ARN())
	})
	return &sdk.ListTasksOutput{TaskArns: page.Items, NextToken: page.next()}, nil
}

// taskFilter holds the filters of a ListTasks request.
type taskFilter struct {
	in          *sdk.ListTasksInput
	desired     string
	service     string // empty for all tasks
	instance    string // the id of a container instance, if the request names one
	launchTypes render.LaunchTypes
}

// newTaskFilter checks the filters of a ListTasks request.
func newTaskFilter(r store.Reader, cluster task.ClusterRef, in *sdk.ListTasksInput) (*taskFilter, error) {
	if err := ecserr.First(
		ecserr.OneOf("desired status", in.DesiredStatus, in.DesiredStatus.Values()),
		ecserr.OneOf("launch type", in.LaunchType, in.LaunchType.Values()),
	); err != nil {
		return nil, err
	}
	f := &taskFilter{in: in, desired: string(in.DesiredStatus), launchTypes: render.NewLaunchTypes(r)}
	if f.desired == "" {
		f.desired = task.DesiredRunning
	}
	if in.ServiceName != nil {
		id, err := identifier.ParseIn(cluster, identifier.Service, *in.ServiceName)
		if err != nil {
			return nil, err
		}
		if _, ok := task.FindService(r, id.ServiceRef()); !ok {
			return nil, &types.ServiceNotFoundException{Message: aws.String("Service not found.")}
		}
		f.service = id.Name
	}
	if in.ContainerInstance != nil {
		id, err := identifier.ParseIn(cluster, identifier.ContainerInstance, *in.ContainerInstance)
		if err != nil {
			return nil, err
		}
		f.instance = id.Name
	}
	return f, nil
}

// matches reports whether a task matches all filters.
func (f *taskFilter) matches(t *task.Task) bool {
	in := f.in
	return render.DesiredStatus(t) == f.desired &&
		(f.service == "" || t.Service == f.service) &&
		(in.Family == nil || t.Family == *in.Family) &&
		(in.StartedBy == nil || render.StartedBy(t) == *in.StartedBy) &&
		(in.ContainerInstance == nil || t.Node != "" && task.ContainerInstanceID(t.Node) == f.instance) &&
		(in.LaunchType == "" || f.launchTypes.Of(t) == in.LaunchType) &&
		in.DaemonName == nil // managed daemons are not supported, so no task belongs to one
}

// executeCommand returns the reason why no session can be opened: sessions use the protocol of AWS Systems Manager's
// Session Manager, which Rollcall does not have. If it returned a session, the client would hang.
func (a *api) executeCommand(ctx context.Context, in *sdk.ExecuteCommandInput) (*sdk.ExecuteCommandOutput, error) {
	r := a.db.Snapshot()
	cluster, err := activeCluster(r, awsapi.ScopeFrom(ctx), in.Cluster)
	if err != nil {
		return nil, err
	}
	id, err := identifier.ParseIn(cluster, identifier.Task, aws.ToString(in.Task))
	if err != nil {
		return nil, err
	}
	if aws.ToString(in.Command) == "" {
		return nil, ecserr.Invalid("Command can not be blank.")
	}
	if !in.Interactive {
		return nil, ecserr.Invalid("Interactive is the only mode supported currently.")
	}
	return nil, executeError(r, id.TaskRef(), aws.ToString(in.Container))
}

// executeError returns the error of ExecuteCommand for a container of a task. It is never nil.
func executeError(r store.Reader, ref task.Ref, container string) error {
	t, err := task.GetTask(r, ref)
	if err != nil {
		return err
	}
	def, err := task.GetDefinition(r, t.Scope(), t.Family, t.Revision)
	if err != nil {
		return err
	}
	_, exists := def.Container(container)
	switch {
	case t.Observed.State != task.Running || !t.Live():
		return ecserr.Invalid("The execute command failed because the task is not RUNNING; it is %s.", t.Observed.State)
	case !t.ExecuteCommand:
		return ecserr.Invalid("The execute command failed because execute command was not enabled when the task was run " +
			"or the execute command agent isn’t running. " +
			"Wait and try again or run a new task with execute command enabled and try again.")
	case container == "" && len(def.Containers) > 1:
		return ecserr.Invalid("The task has several containers; name one.")
	case container != "" && !exists:
		return ecserr.Invalid("The container %s does not exist in the task definition.", container)
	}
	return ecserr.NotConnected("The execute command failed because this server has no sessions of AWS Systems Manager. "+
		"Run the command on the task's node %s.", t.Node)
}
