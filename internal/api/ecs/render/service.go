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

// The platform that ECS reports for tasks on Fargate.
const (
	fargatePlatform = "1.4.0"
	platformFamily  = "Linux"
)

// Service returns a service with its deployments, counts and events.
func Service(r store.Reader, svc *task.Service, withTags bool) (*types.Service, error) {
	spec, err := servicespec.Of(svc)
	if err != nil {
		return nil, err
	}
	serviceARN, clusterARN := serviceARNs(svc.Ref())
	view := &types.Service{
		ServiceArn:                    serviceARN,
		ServiceName:                   aws.String(svc.Name),
		ClusterArn:                    clusterARN,
		Status:                        aws.String(svc.Status),
		DesiredCount:                  int32(svc.DesiredCount),
		TaskDefinition:                spec.TaskDefinition,
		LaunchType:                    spec.LaunchType,
		CapacityProviderStrategy:      renderStrategy(spec),
		PlatformVersion:               spec.PlatformVersion,
		SchedulingStrategy:            spec.SchedulingStrategy,
		DeploymentController:          spec.DeploymentController,
		DeploymentConfiguration:       spec.DeploymentConfiguration,
		HealthCheckGracePeriodSeconds: spec.HealthCheckGracePeriodSeconds,
		NetworkConfiguration:          spec.NetworkConfiguration,
		LoadBalancers:                 []types.LoadBalancer{},
		ServiceRegistries:             codec.OrEmpty(spec.ServiceRegistries),
		PlacementConstraints:          codec.OrEmpty(spec.PlacementConstraints),
		PlacementStrategy:             codec.OrEmpty(spec.PlacementStrategy),
		PropagateTags:                 spec.PropagateTags,
		EnableECSManagedTags:          spec.EnableECSManagedTags,
		EnableExecuteCommand:          spec.EnableExecuteCommand,
		AvailabilityZoneRebalancing:   spec.AvailabilityZoneRebalancing,
		CreatedAt:                     &svc.Created,
		CreatedBy:                     aws.String(identifier.RootARN(svc.Scope())),
		RoleArn:                       aws.String(identifier.ServiceRoleARN(svc.Scope())),
		Deployments:                   []types.Deployment{},
		Events:                        serviceEvents(task.Events(r, svc)),
	}
	if servicespec.LaunchType(spec) == types.LaunchTypeFargate {
		view.PlatformFamily = aws.String(platformFamily)
	}
	if withTags {
		view.Tags = Tags(svc.Tags)
	}
	if svc.Status != task.Inactive {
		addDeployments(r, view, svc, spec)
	}
	return view, nil
}

// renderStrategy returns a strategy with the short names of its capacity providers.
func renderStrategy(spec *servicespec.Spec) []types.CapacityProviderStrategyItem {
	return servicespec.RenderStrategy(servicespec.StrategyRow(spec.CapacityProviderStrategy))
}

// addDeployments adds the deployments, their service revisions, and the counts of tasks.
func addDeployments(r store.Reader, view *types.Service, svc *task.Service, spec *servicespec.Spec) {
	tasks := task.TasksOf(r, svc.Ref())
	total := task.CountTasks(tasks, "")
	view.RunningCount, view.PendingCount = int32(total.Running), int32(total.Pending)
	for i, d := range svc.Deployments {
		isPrimary := i == 0
		view.Deployments = append(view.Deployments, deployment(svc, spec, isPrimary, &d, task.CountTasks(tasks, d.ID)))
		revision := revisionSummary(svc, tasks, d.Number())
		view.CurrentServiceRevisions = append(view.CurrentServiceRevisions, types.ServiceCurrentRevisionSummary{
			Arn:                aws.String(task.ServiceRevisionARN(svc.Ref(), d.Number())),
			RequestedTaskCount: revision.RequestedTaskCount,
			RunningTaskCount:   revision.RunningTaskCount,
			PendingTaskCount:   revision.PendingTaskCount,
		})
	}
	if svc.ServiceDeployment != "" {
		arn := task.ServiceDeploymentARN(svc.Ref(), svc.ServiceDeployment)
		view.CurrentServiceDeployment = &arn
	}
}

func deployment(
	svc *task.Service, spec *servicespec.Spec, isPrimary bool, d *task.Deployment, counts task.Counts,
) types.Deployment {
	view := types.Deployment{
		Id:                   aws.String(d.ID),
		Status:               aws.String("ACTIVE"),
		TaskDefinition:       aws.String(task.DefinitionARN(svc.Scope(), d.Family, d.Revision)),
		RunningCount:         int32(counts.Running),
		PendingCount:         int32(counts.Pending),
		FailedTasks:          int32(d.FailedTasks),
		CreatedAt:            aws.Time(d.Created),
		UpdatedAt:            aws.Time(d.Updated),
		NetworkConfiguration: network(d.Network),
		RolloutState:         types.DeploymentRolloutState(d.Rollout),
		RolloutStateReason:   aws.String(d.Reason),
	}
	if isPrimary {
		view.Status, view.DesiredCount = aws.String("PRIMARY"), int32(svc.DesiredCount)
		view.ServiceConnectConfiguration = spec.ServiceConnectConfiguration
	}
	launchType := cmp.Or(types.LaunchType(d.LaunchType), servicespec.LaunchType(spec))
	if view.CapacityProviderStrategy = servicespec.RenderStrategy(d.Strategy); len(d.Strategy) == 0 {
		view.LaunchType = launchType
	}
	if launchType == types.LaunchTypeFargate {
		view.PlatformVersion, view.PlatformFamily = aws.String(fargatePlatform), aws.String(platformFamily)
	}
	return view
}

func network(n *task.Network) *types.NetworkConfiguration {
	if n == nil {
		return nil
	}
	return &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{
		Subnets: n.Subnets, SecurityGroups: n.SecurityGroups, AssignPublicIp: types.AssignPublicIp(n.AssignPublicIP),
	}}
}

func serviceEvents(events []*task.Event) []types.ServiceEvent {
	view := make([]types.ServiceEvent, 0, len(events))
	for _, e := range events {
		view = append(view, types.ServiceEvent{Id: &e.ID, CreatedAt: &e.Created, Message: &e.Message})
	}
	return view
}
