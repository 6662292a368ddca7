package render

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/ecs/codec"
	"github.com/bakingclouds/rollcall/internal/api/ecs/servicespec"
	"github.com/bakingclouds/rollcall/internal/api/ecs/taskdef"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

func ServiceDeploymentBrief(d *task.ServiceDeployment) types.ServiceDeploymentBrief {
	service, cluster := ownerARNs(d.ServiceRef())
	return types.ServiceDeploymentBrief{
		ServiceDeploymentArn:     aws.String(d.ARN()),
		ServiceArn:               service,
		ClusterArn:               cluster,
		TargetServiceRevisionArn: aws.String(task.ServiceRevisionARN(d.ServiceRef(), d.Target)),
		Status:                   types.ServiceDeploymentStatus(d.Status),
		StatusReason:             awsapi.StringOrNil(d.Reason),
		CreatedAt:                &d.Created,
		StartedAt:                d.Started,
		FinishedAt:               d.Finished,
	}
}

func ownerARNs(svc task.ServiceRef) (serviceARN, clusterARN *string) {
	return aws.String(svc.ARN()), aws.String(svc.ClusterRef().ARN())
}

// ServiceDeployment is a service deployment with the counts of its revisions as they are now.
func ServiceDeployment(r store.Reader, d *task.ServiceDeployment) (*types.ServiceDeployment, error) {
	brief := ServiceDeploymentBrief(d)
	view := &types.ServiceDeployment{
		ServiceDeploymentArn: brief.ServiceDeploymentArn,
		ServiceArn:           brief.ServiceArn,
		ClusterArn:           brief.ClusterArn,
		Status:               brief.Status,
		StatusReason:         brief.StatusReason,
		CreatedAt:            brief.CreatedAt,
		StartedAt:            brief.StartedAt,
		FinishedAt:           brief.FinishedAt,
		StoppedAt:            d.Stopped,
		UpdatedAt:            &d.Updated,

		SourceServiceRevisions: []types.ServiceRevisionSummary{},
	}
	svc, _ := task.FindService(r, d.ServiceRef())
	tasks := task.TasksOf(r, d.ServiceRef())
	summary := func(number string) types.ServiceRevisionSummary {
		s := revisionSummary(svc, tasks, number)
		s.Arn = aws.String(task.ServiceRevisionARN(d.ServiceRef(), number))
		return s
	}
	target := summary(d.Target)
	view.TargetServiceRevision = &target
	for _, number := range d.Sources {
		view.SourceServiceRevisions = append(view.SourceServiceRevisions, summary(number))
	}
	if back := d.Rollback; back != nil {
		view.Rollback = &types.Rollback{
			Reason: &back.Reason, StartedAt: &back.Started,
			ServiceRevisionArn: aws.String(task.ServiceRevisionARN(d.ServiceRef(), back.Number)),
		}
	}
	configuration, err := codec.Decode[types.DeploymentConfiguration]("service deployment "+d.ID, d.Configuration)
	if err != nil {
		return nil, err
	}
	view.DeploymentConfiguration = configuration
	view.DeploymentCircuitBreaker = breakerView(svc, d, configuration.DeploymentCircuitBreaker)
	return view, nil
}

// revisionSummary counts the tasks of a service's revision. Those of the primary deployment are asked for.
func revisionSummary(svc *task.Service, tasks []*task.Task, number string) types.ServiceRevisionSummary {
	n := task.Count(tasks, task.DeploymentID(number))
	s := types.ServiceRevisionSummary{RunningTaskCount: int32(n.Running), PendingTaskCount: int32(n.Pending)}
	if svc != nil && len(svc.Deployments) > 0 && svc.Primary().Number() == number {
		s.RequestedTaskCount = int32(svc.DesiredCount)
	}
	return s
}

// breakerView is what the circuit breaker has seen: until the rollout ends, what it sees now.
func breakerView(svc *task.Service, d *task.ServiceDeployment, c *types.DeploymentCircuitBreaker) *types.ServiceDeploymentCircuitBreaker {
	switch {
	case c == nil || !c.Enable:
		return &types.ServiceDeploymentCircuitBreaker{Status: types.ServiceDeploymentRollbackMonitorsStatusDisabled}
	case d.Breaker != nil:
		view := &types.ServiceDeploymentCircuitBreaker{
			Status: types.ServiceDeploymentRollbackMonitorsStatusMonitoringComplete, FailureCount: int32(d.Breaker.Failures), Threshold: int32(d.Breaker.Threshold),
		}
		if d.Breaker.Tripped {
			view.Status = types.ServiceDeploymentRollbackMonitorsStatusTriggered
		}
		return view
	case d.Status.Ended() || svc == nil || len(svc.Deployments) == 0:
		return &types.ServiceDeploymentCircuitBreaker{Status: types.ServiceDeploymentRollbackMonitorsStatusMonitoringComplete}
	}
	return &types.ServiceDeploymentCircuitBreaker{
		Status: types.ServiceDeploymentRollbackMonitorsStatusMonitoring, FailureCount: int32(svc.Primary().FailedTasks),
		Threshold: int32(servicespec.Breaker(c).Threshold(svc.DesiredCount)),
	}
}

// ServiceRevision is what a deployment was to bring.
func ServiceRevision(r store.Reader, rev *task.ServiceRevision) (*types.ServiceRevision, error) {
	sc := arn.Scope{Account: rev.Account, Region: rev.Region}
	s, err := codec.Decode[servicespec.Spec]("service revision "+rev.Number, rev.Sent)
	if err != nil {
		return nil, err
	}
	service, cluster := ownerARNs(rev.ServiceRef())
	view := &types.ServiceRevision{
		ServiceRevisionArn:          aws.String(task.ServiceRevisionARN(rev.ServiceRef(), rev.Number)),
		ServiceArn:                  service,
		ClusterArn:                  cluster,
		TaskDefinition:              aws.String(task.DefinitionARN(sc, rev.Family, rev.Revision)),
		LaunchType:                  s.LaunchType,
		CapacityProviderStrategy:    servicespec.RenderStrategy(servicespec.StrategyRow(s.CapacityProviderStrategy)),
		LoadBalancers:               []types.LoadBalancer{},
		ServiceRegistries:           codec.OrEmpty(s.ServiceRegistries),
		NetworkConfiguration:        networkView(rev.Network),
		ServiceConnectConfiguration: s.ServiceConnectConfiguration,
		ContainerImages:             []types.ContainerImage{},
		CreatedAt:                   &rev.Created,
	}
	if servicespec.LaunchType(s) == types.LaunchTypeFargate {
		view.PlatformVersion, view.PlatformFamily = aws.String(fargatePlatform), aws.String(platformFamily)
	}
	def, err := task.GetDefinition(r, sc, rev.Family, rev.Revision)
	if err != nil {
		return view, nil // deleted meanwhile, with its images
	}
	in, err := codec.Decode[taskdef.Request]("task definition "+rev.Family, def.Sent)
	if err != nil {
		return nil, err
	}
	for _, c := range in.ContainerDefinitions {
		view.ContainerImages = append(view.ContainerImages, types.ContainerImage{ContainerName: c.Name, Image: c.Image})
	}
	return view, nil
}
