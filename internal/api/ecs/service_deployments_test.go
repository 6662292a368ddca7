package ecs_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// changeService changes the row of the service "web" as the rollout loop would.
func (api *testAPI) changeService(do func(tx *store.Tx, svc *task.Service)) {
	api.t.Helper()
	api.update(func(tx *store.Tx) error {
		old, _ := task.FindService(tx, task.ServiceRef{Scope: api.sc, Cluster: "default", Name: "web"})
		svc := *old
		svc.Deployments = slices.Clone(old.Deployments)
		do(tx, &svc)
		task.PutService(tx, svc)
		return nil
	})
}

// completeRollout ends the rollout of the service "web" successfully.
func (api *testAPI) completeRollout() {
	api.t.Helper()
	api.changeService(func(tx *store.Tx, svc *task.Service) {
		task.BeginServiceDeployment(tx, svc, api.clock.Now())
		svc.Deployments = svc.Deployments[:1]
		svc.Primary().Rollout = task.Completed
		settled := *svc.Primary()
		svc.Settled = &settled
		task.FinishServiceDeployment(tx, svc, api.clock.Now())
	})
}

func (api *testAPI) serviceDeployments(edit ...func(*sdk.ListServiceDeploymentsInput)) []types.ServiceDeploymentBrief {
	api.t.Helper()
	in := &sdk.ListServiceDeploymentsInput{Service: aws.String("web")}
	for _, edit := range edit {
		edit(in)
	}
	return apitest.Must(api.ListServiceDeployments(api.t.Context(), in))(api.t).ServiceDeployments
}

func (api *testAPI) serviceDeployment(arn *string) types.ServiceDeployment {
	api.t.Helper()
	out := apitest.Must(api.DescribeServiceDeployments(api.t.Context(), &sdk.DescribeServiceDeploymentsInput{
		ServiceDeploymentArns: []string{*arn}}))(api.t)
	if len(out.ServiceDeployments) != 1 {
		api.t.Fatalf("service deployment %s: %v", *arn, out.Failures)
	}
	return out.ServiceDeployments[0]
}

// TestServiceDeployments checks that a service deployment is found by the ids that Terraform stores, and shows the
// course of the rollout; that a rollback returns to the members of the previous revision; and that an update with these
// members then starts no deployment.
func TestServiceDeployments(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.registerDefinition("web", types.NetworkModeAwsvpc, 80)
	api.createService("default", "web", func(in *sdk.CreateServiceInput) {
		in.TaskDefinition, in.NetworkConfiguration = aws.String("web:1"), awsvpc("subnet-1")
		in.DeploymentConfiguration = &types.DeploymentConfiguration{
			DeploymentCircuitBreaker: &types.DeploymentCircuitBreaker{Enable: true, Rollback: true}}
	})
	// This is the third revision: createService has registered the second one.
	api.registerDefinition("web", types.NetworkModeAwsvpc, 80)
	created := api.describeWeb("default")
	brief := api.serviceDeployments()
	if len(brief) != 1 || brief[0].Status != types.ServiceDeploymentStatusPending ||
		*brief[0].ServiceDeploymentArn != *created.CurrentServiceDeployment {
		t.Fatalf("service deployments after the creation: %+v", brief)
	}
	n := strings.TrimPrefix(*created.Deployments[0].Id, "ecs-svc/")
	if !strings.HasSuffix(*brief[0].TargetServiceRevisionArn, "service-revision/default/web/"+n) {
		t.Errorf("target of deployment %s is %s", *created.Deployments[0].Id, *brief[0].TargetServiceRevisionArn)
	}
	stop := func(arn *string, how types.StopServiceDeploymentStopType) (*sdk.StopServiceDeploymentOutput, error) {
		return api.StopServiceDeployment(ctx, &sdk.StopServiceDeploymentInput{ServiceDeploymentArn: arn, StopType: how})
	}
	wantError(stop(brief[0].ServiceDeploymentArn, ""))(t,
		"InvalidParameter: The service deployment cannot be rolled back, since no earlier deployment of the "+
			"service was completed.")
	api.completeRollout()
	wantError(stop(brief[0].ServiceDeploymentArn, ""))(t,
		"Conflict: The service deployment is in the status SUCCESSFUL and cannot be stopped any more.")
	first := api.serviceDeployment(brief[0].ServiceDeploymentArn)
	if first.Status != types.ServiceDeploymentStatusSuccessful || first.StartedAt == nil || first.FinishedAt == nil ||
		first.TargetServiceRevision.RequestedTaskCount != 1 ||
		len(first.SourceServiceRevisions) != 0 || !first.DeploymentConfiguration.DeploymentCircuitBreaker.Enable {
		t.Errorf("completed service deployment: %+v", first)
	}

	before := api.clock.Now()
	update := func(in sdk.UpdateServiceInput) *types.Service {
		t.Helper()
		in.Service = aws.String("web")
		return apitest.Must(api.UpdateService(ctx, &in))(t).Service
	}
	updated := update(sdk.UpdateServiceInput{TaskDefinition: aws.String("web:3")})
	api.changeService(func(tx *store.Tx, svc *task.Service) {
		task.BeginServiceDeployment(tx, svc, api.clock.Now())
		svc.Primary().FailedTasks = 2
	})
	brief = api.serviceDeployments(func(in *sdk.ListServiceDeploymentsInput) {
		in.CreatedAt = &types.CreatedAt{After: &before}
	})
	if len(brief) != 1 || brief[0].Status != types.ServiceDeploymentStatusInProgress ||
		*brief[0].ServiceDeploymentArn != *updated.CurrentServiceDeployment {
		t.Fatalf("service deployments after the update: %+v", brief)
	}
	second := api.serviceDeployment(brief[0].ServiceDeploymentArn)
	if b := second.DeploymentCircuitBreaker; b.Status != types.ServiceDeploymentRollbackMonitorsStatusMonitoring ||
		b.FailureCount != 2 || b.Threshold != 3 {
		t.Errorf("circuit breaker: %+v", b)
	}
	if len(second.SourceServiceRevisions) != 1 ||
		*second.SourceServiceRevisions[0].Arn != *first.TargetServiceRevision.Arn {
		t.Errorf("source revisions: %+v", second.SourceServiceRevisions)
	}

	for range 2 { // the repeated call succeeds
		apitest.Must(stop(brief[0].ServiceDeploymentArn, types.StopServiceDeploymentStopTypeRollback))(t)
	}
	if s := api.serviceDeployment(
		brief[0].ServiceDeploymentArn).Status; s != types.ServiceDeploymentStatusRollbackRequested {
		t.Errorf("status after the stop: %s", s)
	}
	api.changeService(func(tx *store.Tx, svc *task.Service) {
		svc.Primary().Rollout = task.Failed
		task.RollBack(tx, svc, task.Rollback{Number: task.NewDeploymentNumber(), Reason: "stopped", Started: api.clock.Now()})
	})
	back := api.serviceDeployment(brief[0].ServiceDeploymentArn)
	if back.Status != types.ServiceDeploymentStatusRollbackInProgress || back.Rollback == nil ||
		*back.Rollback.Reason != "stopped" {
		t.Fatalf("rollback: %+v", back)
	}
	api.completeRollout()
	now := api.describeWeb("default")
	if *now.TaskDefinition != arns+"task-definition/web:1" ||
		now.NetworkConfiguration.AwsvpcConfiguration.Subnets[0] != "subnet-1" || len(now.Deployments) != 1 {
		t.Errorf("service after the rollback: %+v", now)
	}
	for _, in := range []sdk.UpdateServiceInput{{}, {TaskDefinition: aws.String("web:1"),
		NetworkConfiguration: awsvpc("subnet-1"), DesiredCount: aws.Int32(1)}} {
		if got := update(in); *got.Deployments[0].Id != *now.Deployments[0].Id {
			t.Errorf("an update without changes started a deployment")
		}
	}
	if got := update(
		sdk.UpdateServiceInput{TaskDefinition: aws.String("web:3")}); *got.Deployments[0].Id == *now.Deployments[0].Id {
		t.Errorf("the definition that was rolled back was not deployed again")
	}

	revisions := apitest.Must(api.DescribeServiceRevisions(ctx, &sdk.DescribeServiceRevisionsInput{
		ServiceRevisionArns: []string{*back.Rollback.ServiceRevisionArn, *back.TargetServiceRevision.Arn,
			arns + "service-revision/default/web/1"},
	}))(t)
	if len(revisions.ServiceRevisions) != 2 || len(revisions.Failures) != 1 || *revisions.Failures[0].Reason != "MISSING" {
		t.Fatalf("revisions %+v, failures %+v", revisions.ServiceRevisions, revisions.Failures)
	}
	for i, want := range []string{"web:1", "web:3"} {
		r := revisions.ServiceRevisions[i]
		if *r.TaskDefinition != arns+"task-definition/"+want || r.LaunchType != types.LaunchTypeEc2 ||
			len(r.ContainerImages) != 1 || *r.ContainerImages[0].Image != "sample" {
			t.Errorf("revision %+v, want one of %s", r, want)
		}
	}
}

// TestListServiceDeployments checks pages, filters and rejected requests.
func TestListServiceDeployments(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.createService("default", "web")
	for range 4 {
		apitest.Must(api.UpdateService(ctx, &sdk.UpdateServiceInput{Service: aws.String("web"), ForceNewDeployment: true}))(t)
	}
	var got []string
	var last *time.Time
	for in, more := (&sdk.ListServiceDeploymentsInput{Service: aws.String(arns + "service/default/web"),
		MaxResults: aws.Int32(2)}), true; more; {
		out := apitest.Must(api.ListServiceDeployments(ctx, in))(t)
		in.NextToken, more = out.NextToken, out.NextToken != nil
		for _, d := range out.ServiceDeployments {
			if last != nil && !d.CreatedAt.Before(*last) {
				t.Errorf("%s is not older than the previous service deployment", *d.ServiceDeploymentArn)
			}
			last = d.CreatedAt
			got = append(got, string(d.Status))
		}
	}
	if want := []string{"PENDING", "STOPPED", "STOPPED", "STOPPED", "STOPPED"}; !slices.Equal(got, want) {
		t.Errorf("statuses %v, want %v", got, want)
	}
	stopped := api.serviceDeployments(func(in *sdk.ListServiceDeploymentsInput) {
		in.Status = []types.ServiceDeploymentStatus{types.ServiceDeploymentStatusStopped,
			types.ServiceDeploymentStatusSuccessful}
	})
	if len(stopped) != 4 || !strings.HasPrefix(*stopped[0].StatusReason, "Superseded by the service deployment "+arns) {
		t.Errorf("stopped service deployments: %+v", stopped)
	}
	wantError(api.ListServiceDeployments(ctx, &sdk.ListServiceDeploymentsInput{Service: aws.String("none")}))(t,
		"ServiceNotFound: Service not found.")
	wantError(api.ListServiceDeployments(ctx, &sdk.ListServiceDeploymentsInput{Service: aws.String("web"),
		Status: []types.ServiceDeploymentStatus{"GONE"}}))(t, "InvalidParameter: status should be one of...")
	wantError(api.DescribeServiceDeployments(ctx, &sdk.DescribeServiceDeploymentsInput{
		ServiceDeploymentArns: []string{}}))(t,
		"InvalidParameter: service deployment ARNs cannot be empty.")
	wantError(api.DescribeServiceDeployments(ctx, &sdk.DescribeServiceDeploymentsInput{
		ServiceDeploymentArns: make([]string, 21)}))(t,
		"InvalidParameter: At most 20 service deployments can be described at once")
	wantError(api.DescribeServiceDeployments(ctx, &sdk.DescribeServiceDeploymentsInput{
		ServiceDeploymentArns: []string{arns + "service/default/web"}}))(t,
		"InvalidParameter: Invalid identifier: Unexpected resource type...")
	for _, arn := range []string{arns + "service-deployment/default/web/none",
		"arn:aws:ecs:us-east-1:999999999999:service-deployment/default/web/x"} {
		wantError(api.StopServiceDeployment(ctx, &sdk.StopServiceDeploymentInput{ServiceDeploymentArn: &arn}))(t,
			"ServiceDeploymentNotFound: Service Deployment not found.")
	}
}

// TestDaemonService checks that a client cannot set the count of a daemon service, and can delete it without force.
func TestDaemonService(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.createService("default", "replica")
	got := api.createService("default", "web", func(in *sdk.CreateServiceInput) {
		in.SchedulingStrategy, in.DesiredCount = types.SchedulingStrategyDaemon, nil
	})
	if c := got.DeploymentConfiguration; got.SchedulingStrategy != types.SchedulingStrategyDaemon ||
		got.DesiredCount != 0 || *c.MinimumHealthyPercent != 0 || *c.MaximumPercent != 100 ||
		got.AvailabilityZoneRebalancing != types.AvailabilityZoneRebalancingDisabled {
		t.Errorf("created service: %+v", got)
	}
	api.changeService(func(_ *store.Tx, svc *task.Service) { svc.DesiredCount = 3 })
	wantError(api.UpdateService(ctx, &sdk.UpdateServiceInput{Service: aws.String("web"), DesiredCount: aws.Int32(2)}))(t,
		"InvalidParameter: The daemon scheduling strategy does not support a desired count for services...")
	update := apitest.Must(api.UpdateService(ctx, &sdk.UpdateServiceInput{Service: aws.String("web"),
		HealthCheckGracePeriodSeconds: aws.Int32(5)}))(t)
	if n := update.Service.DesiredCount; n != 3 {
		t.Errorf("desired count after an update: %d", n)
	}
	for strategy, want := range map[types.SchedulingStrategy]string{types.SchedulingStrategyDaemon: "web",
		types.SchedulingStrategyReplica: "replica"} {
		list := apitest.Must(api.ListServices(ctx, &sdk.ListServicesInput{SchedulingStrategy: strategy}))(t)
		if !slices.Equal(list.ServiceArns, []string{arns + "service/default/" + want}) {
			t.Errorf("%s services: %v", strategy, list.ServiceArns)
		}
	}
	deleted := apitest.Must(api.DeleteService(ctx, &sdk.DeleteServiceInput{Service: aws.String("web")}))(t)
	if *deleted.Service.Status != "DRAINING" {
		t.Errorf("status of the deleted service: %s", *deleted.Service.Status)
	}
	if d := api.serviceDeployment(
		deleted.Service.CurrentServiceDeployment); d.Status != types.ServiceDeploymentStatusStopped ||
		*d.StatusReason != "The service is being deleted." {
		t.Errorf("service deployment of the deleted service: %s", d.Status)
	}
}
