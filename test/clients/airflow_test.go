package clients

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/test/harness"
)

// overriding is a command, and variables as name=value, in the place of a definition's.
func overriding(command []string, env ...string) *ecstypes.TaskOverride {
	c := ecstypes.ContainerOverride{Name: aws.String("main"), Command: command}
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		c.Environment = append(c.Environment, ecstypes.KeyValuePair{Name: &name, Value: &value})
	}
	return &ecstypes.TaskOverride{ContainerOverrides: []ecstypes.ContainerOverride{c}}
}

// TestAirflow makes the calls of what runs jobs on ECS: Airflow's EcsRunTaskOperator, Jenkins's agents,
// `ecspresso run`, `aws ecs wait`.
func TestAirflow(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "process")
	api, ctx := s.ECSWithoutRetries(), t.Context()
	job := harness.Program(t, "job", "sleep", "1000")
	job.ContainerDefinitions[0].Environment = []ecstypes.KeyValuePair{
		{Name: aws.String("GREETING"), Value: aws.String("definition")}, {Name: aws.String("KEPT"), Value: aws.String("definition")},
	}
	s.RegisterDefinition(job)

	// A batch job: what it runs, its variables and its size are overridden; its exit code tells how it went.
	batch := s.RunTask(&ecs.RunTaskInput{TaskDefinition: aws.String("job"), StartedBy: aws.String("airflow-1"), LaunchType: ecstypes.LaunchTypeExternal,
		Overrides: overriding([]string{"sh", "-c", `[ "$GREETING $KEPT" = "override definition" ] && exit 7; exit 1`}, "GREETING=override")})
	if err := s.WaitTasksStopped(batch); err != nil {
		t.Fatal(err)
	}
	ended := s.DescribeTask(batch)
	if c := ended.Containers[0]; aws.ToInt32(c.ExitCode) != 7 || *c.LastStatus != "STOPPED" || ended.StopCode != ecstypes.TaskStopCodeEssentialContainerExited ||
		*ended.StoppedReason != "Essential container in task exited" || ended.StartedAt == nil || ended.StoppingAt == nil || ended.ExecutionStoppedAt == nil || ended.StoppedAt == nil {
		t.Errorf("the batch job ended as %s", harness.AsJSON(ended))
	}

	// A long one: another worker finds it again by who started it, and stops it.
	long := s.RunTask(&ecs.RunTaskInput{TaskDefinition: aws.String("job"), StartedBy: aws.String("airflow-2"), Group: aws.String("agents")})
	if err := s.WaitTasksRunning(long); err != nil {
		t.Fatal(err)
	}
	list := func(startedBy string, desired ecstypes.DesiredStatus) []string {
		t.Helper()
		return harness.Must(api.ListTasks(ctx, &ecs.ListTasksInput{StartedBy: &startedBy, DesiredStatus: desired}))(t).TaskArns
	}
	if found := list("airflow-2", ecstypes.DesiredStatusRunning); !slices.Equal(found, []string{long}) {
		t.Errorf("airflow-2 has started %v", found)
	}
	harness.Must(api.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: s.DescribeTask(long).TaskDefinitionArn}))(t)
	stopped := harness.Must(api.StopTask(ctx, &ecs.StopTaskInput{Task: &long, Reason: aws.String("the build was aborted")}))(t).Task
	if *stopped.DesiredStatus != "STOPPED" {
		t.Errorf("StopTask answers the desired status %s", *stopped.DesiredStatus)
	}
	if err := s.WaitTasksStopped(long, batch); err != nil {
		t.Fatal(err)
	}
	if ended = s.DescribeTask(long); ended.StopCode != ecstypes.TaskStopCodeUserInitiated || *ended.StoppedReason != "the build was aborted" || *ended.Group != "agents" {
		t.Errorf("the stopped task: %s", harness.AsJSON(ended))
	}
	if running, ended := list("airflow-2", ecstypes.DesiredStatusRunning), list("airflow-2", ecstypes.DesiredStatusStopped); len(running) != 0 || !slices.Equal(ended, []string{long}) {
		t.Errorf("after the stop, airflow-2 has running %v and stopped %v", running, ended)
	}

	// What cannot start says so, and is waited for in vain.
	broken := s.RunTask(&ecs.RunTaskInput{TaskDefinition: aws.String("job"), Overrides: overriding([]string{"/no/such/program"})})
	if err := s.WaitTasksRunning(broken); err == nil || !strings.Contains(err.Error(), "Failure") {
		t.Errorf("waiting for a task that cannot start: %v", err)
	}
	if err := s.WaitTasksStopped(broken); err != nil {
		t.Fatal(err)
	}
	if ended = s.DescribeTask(broken); ended.StopCode != ecstypes.TaskStopCodeTaskFailedToStart || ended.Containers[0].ExitCode != nil || ended.StartedAt != nil {
		t.Errorf("the task that cannot start: %s", harness.AsJSON(ended))
	}
	if err := s.WaitTasksRunning(strings.Repeat("0", 32)); err == nil || !strings.Contains(err.Error(), "Failure") {
		t.Errorf("waiting for a task that is not there: %v", err)
	}
}
