package clients

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/test/harness"
)

// overriding returns an override of a container's command and of its environment, as NAME=value.
func overriding(command []string, env ...string) *ecstypes.TaskOverride {
	c := ecstypes.ContainerOverride{Name: aws.String("main"), Command: command}
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		c.Environment = append(c.Environment, ecstypes.KeyValuePair{Name: &name, Value: &value})
	}
	return &ecstypes.TaskOverride{ContainerOverrides: []ecstypes.ContainerOverride{c}}
}

// TestAirflow makes the calls of Airflow's EcsRunTaskOperator, which runs a job as a task with overrides, waits for it,
// and reads its exit code. A task that cannot start must make the waiter fail.
func TestAirflow(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "process")
	job := harness.Program(t, "job", "sleep", "1000")
	job.ContainerDefinitions[0].Environment = []ecstypes.KeyValuePair{
		{Name: aws.String("GREETING"), Value: aws.String("definition")},
		{Name: aws.String("KEPT"), Value: aws.String("definition")},
	}
	s.RegisterDefinition(job)

	batch := s.RunTask(&ecs.RunTaskInput{TaskDefinition: aws.String("job"), StartedBy: aws.String("airflow-1"),
		LaunchType: ecstypes.LaunchTypeExternal,
		Overrides: overriding([]string{"sh", "-c", `[ "$GREETING $KEPT" = "override definition" ] && exit 7; exit 1`},
			"GREETING=override")})
	if err := s.WaitTasksStopped(batch); err != nil {
		t.Fatal(err)
	}
	ended := s.DescribeTask(batch)
	if c := ended.Containers[0]; aws.ToInt32(c.ExitCode) != 7 || *c.LastStatus != "STOPPED" ||
		ended.StopCode != ecstypes.TaskStopCodeEssentialContainerExited ||
		*ended.StoppedReason != "Essential container in task exited" || ended.StartedAt == nil ||
		ended.StoppingAt == nil || ended.ExecutionStoppedAt == nil || ended.StoppedAt == nil {
		t.Errorf("the finished task is %s", harness.AsJSON(ended))
	}

	broken := s.RunTask(&ecs.RunTaskInput{TaskDefinition: aws.String("job"),
		Overrides: overriding([]string{"/no/such/program"})})
	if err := s.WaitTasksRunning(broken); err == nil || !strings.Contains(err.Error(), "Failure") {
		t.Errorf("tasks-running waiter for a task that cannot start: %v, want a failure", err)
	}
	if err := s.WaitTasksStopped(broken); err != nil {
		t.Fatal(err)
	}
	if ended = s.DescribeTask(broken); ended.StopCode != ecstypes.TaskStopCodeTaskFailedToStart ||
		ended.Containers[0].ExitCode != nil || ended.StartedAt != nil {
		t.Errorf("the task that cannot start is %s", harness.AsJSON(ended))
	}
	if err := s.WaitTasksRunning(strings.Repeat("0", 32)); err == nil || !strings.Contains(err.Error(), "Failure") {
		t.Errorf("tasks-running waiter for a task that does not exist: %v, want a failure", err)
	}
}
