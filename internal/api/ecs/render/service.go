package render

import (
	"cmp"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/codec"
	"github.com/bakingclouds/rollcall/internal/api/ecs/identifier"
	"github.com/bakingclouds/rollcall/internal/api/ecs/servicespec"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// The platform that Fargate tasks are reported to run on.
const (
	fargatePlatform = "1.4.0"
	platformFamily  = "Linux"
)

// Service is a service with its deployments, counts and events. Members that nothing here interprets are
// given back as they were sent.
func Service(r store.Reader, svc *task.Service, tags bool) (*types.Service, error) {
	s, err := servicespec.Of(svc)
	if err != nil {
		return nil, err
	}
	cluster := task.Cluster{Account: svc.Account, Region: svc.Region, Name: svc.Cluster}
	view := &types.Service{
		ServiceArn:                    aws.String(svc.ARN()),
		ServiceName:                   aws.String(svc.Name),
		ClusterArn:                    aws.String(cluster.ARN()),
		Status:                        aws.String(svc.Status),
		DesiredCount:                  int32(svc.DesiredCount),
		TaskDefinition:                s.TaskDefinition,
		LaunchType:                    s.LaunchType,
		CapacityProviderStrategy:      servicespec.RenderStrategy(servicespec.StrategyRow(s.CapacityProviderStrategy)),
		PlatformVersion:               s.PlatformVersion,
		SchedulingStrategy:            s.SchedulingStrategy,
		DeploymentController:          s.DeploymentController,
		DeploymentConfiguration:       s.DeploymentConfiguration,
		HealthCheckGracePeriodSeconds: s.HealthCheckGracePeriodSeconds,
		NetworkConfiguration:          s.NetworkConfiguration,
		LoadBalancers:                 []types.LoadBalancer{},
		ServiceRegistries:             codec.OrEmpty(s.ServiceRegistries),
		PlacementConstraints:          codec.OrEmpty(s.PlacementConstraints),
		PlacementStrategy:             codec.OrEmpty(s.PlacementStrategy),
		PropagateTags:                 s.PropagateTags,
		EnableECSManagedTags:          s.EnableECSManagedTags,
		EnableExecuteCommand:          s.EnableExecuteCommand,
		AvailabilityZoneRebalancing:   s.AvailabilityZoneRebalancing,
		CreatedAt:                     &svc.Created,
		CreatedBy:                     aws.String(identifier.RootARN(svc.Scope())),
		RoleArn:                       aws.String(identifier.ServiceRoleARN(svc.Scope())),
		Deployments:                   []types.Deployment{},
		Events:                        eventsView(task.Events(r, svc)),
	}
	if servicespec.LaunchType(s) == types.LaunchTypeFargate {
		view.PlatformFamily = aws.String(platformFamily)
	}
	if tags {
		view.Tags = Tags(svc.Tags)
	}
	if svc.Status == task.Inactive {
		return view, nil
	}
	tasks := task.TasksOf(r, svc.Ref())
	all := task.Count(tasks, "")
	view.RunningCount, view.PendingCount = int32(all.Running), int32(all.Pending)
	for i, d := range svc.Deployments {
		n := task.Count(tasks, d.ID)
		view.Deployments = append(view.Deployments, deploymentView(svc, s, i == 0, &d, n))
		rev := revisionSummary(svc, tasks, d.Number())
		view.CurrentServiceRevisions = append(view.CurrentServiceRevisions, types.ServiceCurrentRevisionSummary{
			Arn:                aws.String(task.ServiceRevisionARN(svc.Ref(), d.Number())),
			RequestedTaskCount: rev.RequestedTaskCount, RunningTaskCount: rev.RunningTaskCount, PendingTaskCount: rev.PendingTaskCount,
		})
	}
	if svc.ServiceDeployment != "" {
		view.CurrentServiceDeployment = aws.String(task.ServiceDeploymentARN(svc.Ref(), svc.ServiceDeployment))
	}
	return view, nil
}

// deploymentView is a deployment; the primary is the one that is wanted.
func deploymentView(svc *task.Service, s *servicespec.Spec, primary bool, d *task.Deployment, n task.Counts) types.Deployment {
	view := types.Deployment{
		Id:                   aws.String(d.ID),
		Status:               aws.String("ACTIVE"),
		TaskDefinition:       aws.String(task.DefinitionARN(svc.Scope(), d.Family, d.Revision)),
		RunningCount:         int32(n.Running),
		PendingCount:         int32(n.Pending),
		FailedTasks:          int32(d.FailedTasks),
		CreatedAt:            aws.Time(d.Created),
		UpdatedAt:            aws.Time(d.Updated),
		NetworkConfiguration: networkView(d.Network),
		RolloutState:         types.DeploymentRolloutState(d.Rollout),
		RolloutStateReason:   aws.String(d.Reason),
	}
	if primary {
		view.Status, view.DesiredCount = aws.String("PRIMARY"), int32(svc.DesiredCount)
		view.ServiceConnectConfiguration = s.ServiceConnectConfiguration
	}
	launch := cmp.Or(types.LaunchType(d.LaunchType), servicespec.LaunchType(s))
	if view.CapacityProviderStrategy = servicespec.RenderStrategy(d.Strategy); len(d.Strategy) == 0 {
		view.LaunchType = launch
	}
	if launch == types.LaunchTypeFargate {
		view.PlatformVersion, view.PlatformFamily = aws.String(fargatePlatform), aws.String(platformFamily)
	}
	return view
}

func networkView(n *task.Network) *types.NetworkConfiguration {
	if n == nil {
		return nil
	}
	return &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{
		Subnets: n.Subnets, SecurityGroups: n.SecurityGroups, AssignPublicIp: types.AssignPublicIp(n.AssignPublicIP),
	}}
}

func eventsView(events []*task.Event) []types.ServiceEvent {
	view := make([]types.ServiceEvent, 0, len(events))
	for _, e := range events {
		view = append(view, types.ServiceEvent{Id: &e.ID, CreatedAt: &e.Created, Message: &e.Message})
	}
	return view
}
