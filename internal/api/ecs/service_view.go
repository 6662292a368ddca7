package ecs

import (
	"cmp"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// The platform that Fargate tasks are reported to run on.
const (
	fargatePlatform = "1.4.0"
	platformFamily  = "Linux"
)

// serviceView is a service with its deployments, counts and events. Members that nothing here interprets are
// given back as they were sent.
func serviceView(r store.Reader, svc *task.Service, tags bool) (*types.Service, error) {
	s, err := settingsOf(svc)
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
		CapacityProviderStrategy:      strategyView(strategyOf(s.CapacityProviderStrategy)),
		PlatformVersion:               s.PlatformVersion,
		SchedulingStrategy:            s.SchedulingStrategy,
		DeploymentController:          s.DeploymentController,
		DeploymentConfiguration:       s.DeploymentConfiguration,
		HealthCheckGracePeriodSeconds: s.HealthCheckGracePeriodSeconds,
		NetworkConfiguration:          s.NetworkConfiguration,
		LoadBalancers:                 []types.LoadBalancer{},
		ServiceRegistries:             orEmpty(s.ServiceRegistries),
		PlacementConstraints:          orEmpty(s.PlacementConstraints),
		PlacementStrategy:             orEmpty(s.PlacementStrategy),
		PropagateTags:                 s.PropagateTags,
		EnableECSManagedTags:          s.EnableECSManagedTags,
		EnableExecuteCommand:          s.EnableExecuteCommand,
		AvailabilityZoneRebalancing:   s.AvailabilityZoneRebalancing,
		CreatedAt:                     &svc.Created,
		CreatedBy:                     aws.String(rootARN(svc.Scope())),
		RoleArn:                       aws.String(roleARN(svc.Scope())),
		Deployments:                   []types.Deployment{},
		Events:                        eventsView(task.Events(r, svc)),
	}
	if launchOf(s) == types.LaunchTypeFargate {
		view.PlatformFamily = aws.String(platformFamily)
	}
	if tags {
		view.Tags = tagsView(svc.Tags)
	}
	if svc.Status == task.Inactive {
		return view, nil
	}
	tasks := task.TasksOf(r, svc.Scope(), svc.Cluster, svc.Name)
	all := task.Count(tasks, "")
	view.RunningCount, view.PendingCount = int32(all.Running), int32(all.Pending)
	for i, d := range svc.Deployments {
		n := task.Count(tasks, d.ID)
		view.Deployments = append(view.Deployments, deploymentView(svc, s, i == 0, &d, n))
		rev := revisionSummary(svc, tasks, d.Number())
		view.CurrentServiceRevisions = append(view.CurrentServiceRevisions, types.ServiceCurrentRevisionSummary{
			Arn:                aws.String(task.ServiceRevisionARN(svc.Scope(), svc.Cluster, svc.Name, d.Number())),
			RequestedTaskCount: rev.RequestedTaskCount, RunningTaskCount: rev.RunningTaskCount, PendingTaskCount: rev.PendingTaskCount,
		})
	}
	if svc.ServiceDeployment != "" {
		view.CurrentServiceDeployment = aws.String(task.ServiceDeploymentARN(svc.Scope(), svc.Cluster, svc.Name, svc.ServiceDeployment))
	}
	return view, nil
}

// deploymentView is a deployment; the primary is the one that is wanted.
func deploymentView(svc *task.Service, s *settings, primary bool, d *task.Deployment, n task.Counts) types.Deployment {
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
	launch := cmp.Or(types.LaunchType(d.LaunchType), launchOf(s))
	if view.CapacityProviderStrategy = strategyView(d.Strategy); len(d.Strategy) == 0 {
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

// roleARN is the service-linked role that AWS shows for services without load balancers.
func roleARN(sc arn.Scope) string {
	partition, suffix := arn.Partition(sc.Region), "amazonaws.com"
	if partition == "aws-cn" {
		suffix = "amazonaws.com.cn"
	}
	return "arn:" + partition + ":iam::" + sc.Account + ":role/aws-service-role/ecs." + suffix + "/AWSServiceRoleForECS"
}
