package test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// The SDK's waiters, which are the CLI's `aws ecs wait` too, with less time between the calls.

func (s *server) waitTasksRunning(arns ...string) error {
	return ecs.NewTasksRunningWaiter(s.ecsOnce(), func(o *ecs.TasksRunningWaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, 100*time.Millisecond
	}).
		Wait(s.T.Context(), &ecs.DescribeTasksInput{Tasks: arns}, time.Minute)
}

func (s *server) waitTasksStopped(arns ...string) error {
	return ecs.NewTasksStoppedWaiter(s.ecsOnce(), func(o *ecs.TasksStoppedWaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, 100*time.Millisecond
	}).
		Wait(s.T.Context(), &ecs.DescribeTasksInput{Tasks: arns}, time.Minute)
}

func (s *server) waitServicesStable(names ...string) error {
	return ecs.NewServicesStableWaiter(s.ecsOnce(), func(o *ecs.ServicesStableWaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, 100*time.Millisecond
	}).
		Wait(s.T.Context(), &ecs.DescribeServicesInput{Services: names}, time.Minute)
}

func (s *server) waitServicesInactive(names ...string) error {
	return ecs.NewServicesInactiveWaiter(s.ecsOnce(), func(o *ecs.ServicesInactiveWaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, 100*time.Millisecond
	}).
		Wait(s.T.Context(), &ecs.DescribeServicesInput{Services: names}, time.Minute)
}

// runTask starts one task, which must be possible, and returns its ARN.
func (s *server) runTask(in *ecs.RunTaskInput) string {
	s.T.Helper()
	if in.NetworkConfiguration == nil {
		in.NetworkConfiguration = awsvpc()
	}
	out := must[*ecs.RunTaskOutput](s.T)(s.ecsOnce().RunTask(s.T.Context(), in))
	if len(out.Failures) > 0 || len(out.Tasks) != 1 {
		s.T.Fatalf("RunTask: %s", asJSON(out))
	}
	return *out.Tasks[0].TaskArn
}

func (s *server) describeTask(arn string) ecstypes.Task {
	s.T.Helper()
	out := must[*ecs.DescribeTasksOutput](s.T)(s.ecsOnce().DescribeTasks(s.T.Context(), &ecs.DescribeTasksInput{Tasks: []string{arn}}))
	if len(out.Tasks) != 1 {
		s.T.Fatalf("DescribeTasks %s: %s", arn, asJSON(out.Failures))
	}
	return out.Tasks[0]
}

// overriding is a command, and variables as name=value, in the place of a definition's.
func overriding(command []string, env ...string) *ecstypes.TaskOverride {
	c := ecstypes.ContainerOverride{Name: aws.String("main"), Command: command}
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		c.Environment = append(c.Environment, ecstypes.KeyValuePair{Name: &name, Value: &value})
	}
	return &ecstypes.TaskOverride{ContainerOverrides: []ecstypes.ContainerOverride{c}}
}

// TestTaskRunners makes the calls of what runs jobs on ECS: Airflow's EcsRunTaskOperator, Jenkins's agents,
// `ecspresso run`, `aws ecs wait`.
func TestTaskRunners(t *testing.T) {
	t.Parallel()
	s := serve(t, "--runtime", "process")
	api, ctx := s.ecsOnce(), t.Context()
	job := program(t, "job", "sleep", "1000")
	job.ContainerDefinitions[0].Environment = []ecstypes.KeyValuePair{
		{Name: aws.String("GREETING"), Value: aws.String("definition")}, {Name: aws.String("KEPT"), Value: aws.String("definition")},
	}
	s.Register(job)

	// A batch job: what it runs, its variables and its size are overridden; its exit code tells how it went.
	batch := s.runTask(&ecs.RunTaskInput{TaskDefinition: aws.String("job"), StartedBy: aws.String("airflow-1"), LaunchType: ecstypes.LaunchTypeExternal,
		Overrides: overriding([]string{"sh", "-c", `[ "$GREETING $KEPT" = "override definition" ] && exit 7; exit 1`}, "GREETING=override")})
	if err := s.waitTasksStopped(batch); err != nil {
		t.Fatal(err)
	}
	ended := s.describeTask(batch)
	if c := ended.Containers[0]; aws.ToInt32(c.ExitCode) != 7 || *c.LastStatus != "STOPPED" || ended.StopCode != ecstypes.TaskStopCodeEssentialContainerExited ||
		*ended.StoppedReason != "Essential container in task exited" || ended.StartedAt == nil || ended.StoppingAt == nil || ended.ExecutionStoppedAt == nil || ended.StoppedAt == nil {
		t.Errorf("the batch job ended as %s", asJSON(ended))
	}

	// A long one: another worker finds it again by who started it, and stops it.
	long := s.runTask(&ecs.RunTaskInput{TaskDefinition: aws.String("job"), StartedBy: aws.String("airflow-2"), Group: aws.String("agents")})
	if err := s.waitTasksRunning(long); err != nil {
		t.Fatal(err)
	}
	list := func(startedBy string, desired ecstypes.DesiredStatus) []string {
		t.Helper()
		return must[*ecs.ListTasksOutput](t)(api.ListTasks(ctx, &ecs.ListTasksInput{StartedBy: &startedBy, DesiredStatus: desired})).TaskArns
	}
	if found := list("airflow-2", ecstypes.DesiredStatusRunning); !slices.Equal(found, []string{long}) {
		t.Errorf("airflow-2 has started %v", found)
	}
	must[*ecs.DescribeTaskDefinitionOutput](t)(api.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: s.describeTask(long).TaskDefinitionArn}))
	stopped := must[*ecs.StopTaskOutput](t)(api.StopTask(ctx, &ecs.StopTaskInput{Task: &long, Reason: aws.String("the build was aborted")})).Task
	if *stopped.DesiredStatus != "STOPPED" {
		t.Errorf("StopTask answers the desired status %s", *stopped.DesiredStatus)
	}
	if err := s.waitTasksStopped(long, batch); err != nil {
		t.Fatal(err)
	}
	if ended = s.describeTask(long); ended.StopCode != ecstypes.TaskStopCodeUserInitiated || *ended.StoppedReason != "the build was aborted" || *ended.Group != "agents" {
		t.Errorf("the stopped task: %s", asJSON(ended))
	}
	if running, ended := list("airflow-2", ecstypes.DesiredStatusRunning), list("airflow-2", ecstypes.DesiredStatusStopped); len(running) != 0 || !slices.Equal(ended, []string{long}) {
		t.Errorf("after the stop, airflow-2 has running %v and stopped %v", running, ended)
	}

	// What cannot start says so, and is waited for in vain.
	broken := s.runTask(&ecs.RunTaskInput{TaskDefinition: aws.String("job"), Overrides: overriding([]string{"/no/such/program"})})
	if err := s.waitTasksRunning(broken); err == nil || !strings.Contains(err.Error(), "Failure") {
		t.Errorf("waiting for a task that cannot start: %v", err)
	}
	if err := s.waitTasksStopped(broken); err != nil {
		t.Fatal(err)
	}
	if ended = s.describeTask(broken); ended.StopCode != ecstypes.TaskStopCodeTaskFailedToStart || ended.Containers[0].ExitCode != nil || ended.StartedAt != nil {
		t.Errorf("the task that cannot start: %s", asJSON(ended))
	}
	if err := s.waitTasksRunning(strings.Repeat("0", 32)); err == nil || !strings.Contains(err.Error(), "Failure") {
		t.Errorf("waiting for a task that is not there: %v", err)
	}
}

// TestServiceDeployer makes the calls of `aws ecs wait` and of GitHub's action that deploys a task definition:
// what DescribeTaskDefinition shows, without the members that only AWS writes, is registered again as it is.
func TestServiceDeployer(t *testing.T) {
	t.Parallel()
	s := serve(t, "--runtime", "process")
	api, ctx := s.ecsOnce(), t.Context()
	in := program(t, "app", "sleep", "1000")
	in.ContainerDefinitions[0].PortMappings = []ecstypes.PortMapping{{ContainerPort: aws.Int32(8080), Name: aws.String("http")}}
	in.ContainerDefinitions[0].DockerLabels = map[string]string{"a": "1"}
	s.Run("app", s.Register(in), 1, nil)
	if err := s.waitServicesStable("app"); err != nil {
		t.Fatal(err)
	}

	shown := must[*ecs.DescribeTaskDefinitionOutput](t)(api.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: aws.String("app")})).TaskDefinition
	again := &ecs.RegisterTaskDefinitionInput{}
	for to, from, i := reflect.ValueOf(again).Elem(), reflect.ValueOf(shown).Elem(), 0; i < to.NumField(); i++ {
		if f := from.FieldByName(to.Type().Field(i).Name); f.IsValid() && to.Type().Field(i).IsExported() {
			to.Field(i).Set(f)
		}
	}
	again.ContainerDefinitions[0].Image = aws.String("app:2")
	next := must[*ecs.RegisterTaskDefinitionOutput](t)(api.RegisterTaskDefinition(ctx, again)).TaskDefinition
	if got := asJSON(next.ContainerDefinitions); got != asJSON(again.ContainerDefinitions) || next.Revision != 2 {
		t.Errorf("registered again as revision %d: %s", next.Revision, got)
	}
	if svc := s.Describe("app"); *svc.Status != "ACTIVE" {
		t.Fatalf("the service is %s", *svc.Status)
	}
	updated := must[*ecs.UpdateServiceOutput](t)(api.UpdateService(ctx, &ecs.UpdateServiceInput{Service: aws.String("app"), TaskDefinition: next.TaskDefinitionArn}))
	if n := len(updated.Service.Deployments); n != 2 {
		t.Errorf("right after the update there are %d deployments; a waiter would take the service for stable", n)
	}
	if err := s.waitServicesStable("app"); err != nil {
		t.Fatal(err)
	}
	if tasks := s.Tasks("app", ecstypes.DesiredStatusRunning); len(tasks) != 1 || *tasks[0].TaskDefinitionArn != *next.TaskDefinitionArn || *tasks[0].Containers[0].Image != "app:2" {
		t.Errorf("after the rollout: %s", asJSON(tasks))
	}

	must[*ecs.DeleteServiceOutput](t)(api.DeleteService(ctx, &ecs.DeleteServiceInput{Service: aws.String("app"), Force: aws.Bool(true)}))
	if err := s.waitServicesInactive("app"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"app", "none"} { // one that is deleted, one that never was
		if err := s.waitServicesStable(name); err == nil || !strings.Contains(err.Error(), "Failure") {
			t.Errorf("waiting until the service %s is stable: %v", name, err)
		}
	}
	if err := s.waitServicesInactive("none"); err == nil || !strings.Contains(err.Error(), "Failure") {
		t.Errorf("waiting until a service that never was is inactive: %v", err)
	}
}
