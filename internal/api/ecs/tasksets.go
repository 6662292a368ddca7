package ecs

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// refuseTaskSets registers the operations of task sets. They are for services of the deployment controller
// EXTERNAL, which there are none of, so that each ends where AWS's ends for any other service.
func (a *api) refuseTaskSets(s *awsapi.Service) {
	awsapi.Handle(s, func(ctx context.Context, in *sdk.CreateTaskSetInput) (*sdk.CreateTaskSetOutput, error) {
		return nil, a.noTaskSets(ctx, in.Cluster, in.Service)
	})
	awsapi.Handle(s, func(ctx context.Context, in *sdk.DescribeTaskSetsInput) (*sdk.DescribeTaskSetsOutput, error) {
		return nil, a.noTaskSets(ctx, in.Cluster, in.Service)
	})
	awsapi.Handle(s, func(ctx context.Context, in *sdk.UpdateTaskSetInput) (*sdk.UpdateTaskSetOutput, error) {
		return nil, a.noTaskSets(ctx, in.Cluster, in.Service)
	})
	awsapi.Handle(s, func(ctx context.Context, in *sdk.UpdateServicePrimaryTaskSetInput) (*sdk.UpdateServicePrimaryTaskSetOutput, error) {
		return nil, a.noTaskSets(ctx, in.Cluster, in.Service)
	})
	awsapi.Handle(s, func(ctx context.Context, in *sdk.DeleteTaskSetInput) (*sdk.DeleteTaskSetOutput, error) {
		return nil, a.noTaskSets(ctx, in.Cluster, in.Service)
	})
}

// noTaskSets is why a service has no task sets.
func (a *api) noTaskSets(ctx context.Context, cluster, service *string) error {
	sc, r := awsapi.ScopeFrom(ctx), a.db.Snapshot()
	name, err := activeCluster(r, sc, cluster)
	if err != nil {
		return err
	}
	id, err := identifyIn(sc, name, "service", aws.ToString(service))
	if err != nil {
		return err
	}
	if _, err := task.GetService(r, sc, name, id.name); err != nil {
		return err
	}
	return invalid("Task sets are for services with the deployment controller EXTERNAL; the service %s has ECS.", id.name)
}

// executeCommand says why no session can be opened: it speaks the protocol of AWS Systems Manager's Session
// Manager, which this server does not. A session that leads nowhere would make the client hang instead.
func (a *api) executeCommand(ctx context.Context, in *sdk.ExecuteCommandInput) (*sdk.ExecuteCommandOutput, error) {
	sc, r := awsapi.ScopeFrom(ctx), a.db.Snapshot()
	cluster, err := activeCluster(r, sc, in.Cluster)
	if err != nil {
		return nil, err
	}
	id, err := identifyIn(sc, cluster, "task", aws.ToString(in.Task))
	if err != nil {
		return nil, err
	}
	if aws.ToString(in.Command) == "" {
		return nil, invalid("Command can not be blank.")
	}
	if !in.Interactive {
		return nil, invalid("Interactive is the only mode supported currently.")
	}
	return nil, a.noSession(r, sc, cluster, id.name, aws.ToString(in.Container))
}

// noSession is why a task has no session.
func (a *api) noSession(r store.Reader, sc arn.Scope, cluster, id, container string) error {
	t, err := task.GetTask(r, sc, cluster, id)
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
		return invalid("The execute command failed because the task is not RUNNING; it is %s.", t.Observed.State)
	case !t.ExecuteCommand:
		return invalid("The execute command failed because execute command was not enabled when the task was run or the execute command agent isn’t running. Wait and try again or run a new task with execute command enabled and try again.")
	case container == "" && len(def.Containers) > 1:
		return invalid("The task has several containers; name one.")
	case container != "" && !known:
		return invalid("The container %s does not exist in the task definition.", container)
	}
	return notConnected("The execute command failed because this server has no sessions of AWS Systems Manager. Run the command on the task's node %s.", t.Node)
}
