package render

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/ecs/codec"
	"github.com/bakingclouds/rollcall/internal/api/ecs/servicespec"
	"github.com/bakingclouds/rollcall/internal/api/ecs/taskdef"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// ServiceDeploymentBrief returns a service deployment as ListServiceDeployments shows it.
func ServiceDeploymentBrief(d *task.ServiceDeployment) types.ServiceDeploymentBrief {
	serviceARN, clusterARN := serviceARNs(d.ServiceRef())
	return types.ServiceDeploymentBrief{
		ServiceDeploymentArn:     aws.String(d.ARN()),
		ServiceArn:               serviceARN,
		ClusterArn:               clusterARN,
		TargetServiceRevisionArn: aws.String(task.ServiceRevisionARN(d.ServiceRef(), d.Target)),
		Status:                   types.ServiceDeploymentStatus(d.Status),
		StatusReason:             awsapi.StringOrNil(d.Reason),
		CreatedAt:                &d.Created,
		StartedAt:                d.Started,
		FinishedAt:               d.Finished,
	}
}

// serviceARNs returns the ARNs of a service and of its cluster.
func serviceARNs(svc task.ServiceRef) (serviceARN, clusterARN *string) {
	return aws.String(svc.ARN()), aws.String(svc.ClusterRef().ARN())
}

// ServiceDeployment returns a service deployment with the current counts of its revisions.
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
	target := revisionSummary(svc, tasks, d.Target)
	target.Arn = revisionARN(d, d.Target)
	view.TargetServiceRevision = &target
	for _, number := range d.Sources {
		source := revisionSummary(svc, tasks, number)
		source.Arn = revisionARN(d, number)
		view.SourceServiceRevisions = append(view.SourceServiceRevisions, source)
	}
	if d.Rollback != nil {
		view.Rollback = &types.Rollback{
			Reason: &d.Rollback.Reason, StartedAt: &d.Rollback.Started,
			ServiceRevisionArn: revisionARN(d, d.Rollback.Number),
		}
	}
	configuration, err := codec.Decode[types.DeploymentConfiguration]("service deployment "+d.ID, d.Configuration)
	if err != nil {
		return nil, err
	}
	view.DeploymentConfiguration = configuration
	view.DeploymentCircuitBreaker = circuitBreaker(svc, d, configuration.DeploymentCircuitBreaker)
	return view, nil
}

func revisionARN(d *task.ServiceDeployment, number string) *string {
	return aws.String(task.ServiceRevisionARN(d.ServiceRef(), number))
}

// revisionSummary counts the tasks of a service revision. Only the revision of the primary deployment has a requested
// count. svc is nil if the service no longer exists.
func revisionSummary(svc *task.Service, tasks []*task.Task, number string) types.ServiceRevisionSummary {
	counts := task.CountTasks(tasks, task.DeploymentID(number))
	view := types.ServiceRevisionSummary{
		RunningTaskCount: int32(counts.Running), PendingTaskCount: int32(counts.Pending),
	}
	if svc != nil && len(svc.Deployments) > 0 && svc.Primary().Number() == number {
		view.RequestedTaskCount = int32(svc.DesiredCount)
	}
	return view
}

// circuitBreaker returns the result of a circuit breaker, or its current state while the rollout is in progress.
func circuitBreaker(
	svc *task.Service, d *task.ServiceDeployment, breaker *types.DeploymentCircuitBreaker,
) *types.ServiceDeploymentCircuitBreaker {
	switch {
	case breaker == nil || !breaker.Enable:
		return &types.ServiceDeploymentCircuitBreaker{Status: types.ServiceDeploymentRollbackMonitorsStatusDisabled}
	case d.Breaker != nil:
		view := &types.ServiceDeploymentCircuitBreaker{
			Status:       types.ServiceDeploymentRollbackMonitorsStatusMonitoringComplete,
			FailureCount: int32(d.Breaker.Failures),
			Threshold:    int32(d.Breaker.Threshold),
		}
		if d.Breaker.Tripped {
			view.Status = types.ServiceDeploymentRollbackMonitorsStatusTriggered
		}
		return view
	case d.Status.Ended() || svc == nil || len(svc.Deployments) == 0:
		return &types.ServiceDeploymentCircuitBreaker{
			Status: types.ServiceDeploymentRollbackMonitorsStatusMonitoringComplete,
		}
	}
	return &types.ServiceDeploymentCircuitBreaker{
		Status:       types.ServiceDeploymentRollbackMonitorsStatusMonitoring,
		FailureCount: int32(svc.Primary().FailedTasks),
		Threshold:    int32(servicespec.BreakerRow(breaker).Threshold(svc.DesiredCount)),
	}
}

// ServiceRevision returns the members of a service that a deployment was to bring about.
func ServiceRevision(r store.Reader, revision *task.ServiceRevision) (*types.ServiceRevision, error) {
	scope := revision.ServiceRef().Scope
	spec, err := codec.Decode[servicespec.Spec]("service revision "+revision.Number, revision.Sent)
	if err != nil {
		return nil, err
	}
	serviceARN, clusterARN := serviceARNs(revision.ServiceRef())
	view := &types.ServiceRevision{
		ServiceRevisionArn:          aws.String(task.ServiceRevisionARN(revision.ServiceRef(), revision.Number)),
		ServiceArn:                  serviceARN,
		ClusterArn:                  clusterARN,
		TaskDefinition:              aws.String(task.DefinitionARN(scope, revision.Family, revision.Revision)),
		LaunchType:                  spec.LaunchType,
		CapacityProviderStrategy:    renderStrategy(spec),
		LoadBalancers:               []types.LoadBalancer{},
		ServiceRegistries:           codec.OrEmpty(spec.ServiceRegistries),
		NetworkConfiguration:        network(revision.Network),
		ServiceConnectConfiguration: spec.ServiceConnectConfiguration,
		ContainerImages:             []types.ContainerImage{},
		CreatedAt:                   &revision.Created,
	}
	if servicespec.LaunchType(spec) == types.LaunchTypeFargate {
		view.PlatformVersion, view.PlatformFamily = aws.String(fargatePlatform), aws.String(platformFamily)
	}
	def, err := task.GetDefinition(r, scope, revision.Family, revision.Revision)
	if err != nil {
		return view, nil // the definition was deleted, and its images with it
	}
	request, err := taskdef.RequestOf(def)
	if err != nil {
		return nil, err
	}
	for _, c := range request.ContainerDefinitions {
		view.ContainerImages = append(view.ContainerImages, types.ContainerImage{ContainerName: c.Name, Image: c.Image})
	}
	return view, nil
}
