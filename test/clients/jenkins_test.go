package clients

import (
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/test/harness"
)

// TestJenkins makes the calls of Jenkins's ECS plugin, which runs each build agent as a task, finds it again by
// startedBy after a restart, and stops it.
func TestJenkins(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "process")
	api, ctx := s.ECSWithoutRetries(), t.Context()
	s.RegisterDefinition(harness.Program(t, "job", "sleep", "1000"))

	agent := s.RunTask(&ecs.RunTaskInput{TaskDefinition: aws.String("job"), StartedBy: aws.String("jenkins-1"),
		Group: aws.String("agents")})
	if err := s.WaitTasksRunning(agent); err != nil {
		t.Fatal(err)
	}
	list := func(startedBy string, desired ecstypes.DesiredStatus) []string {
		t.Helper()
		return harness.Must(api.ListTasks(ctx, &ecs.ListTasksInput{StartedBy: &startedBy,
			DesiredStatus: desired}))(t).TaskArns
	}
	if found := list("jenkins-1", ecstypes.DesiredStatusRunning); !slices.Equal(found, []string{agent}) {
		t.Errorf("ListTasks by startedBy returns %v, want the agent", found)
	}
	harness.Must(api.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{
		TaskDefinition: s.DescribeTask(agent).TaskDefinitionArn}))(t)
	stopped := harness.Must(api.StopTask(ctx, &ecs.StopTaskInput{Task: &agent,
		Reason: aws.String("the build was aborted")}))(t).Task
	if *stopped.DesiredStatus != "STOPPED" {
		t.Errorf("StopTask returns the desired status %s, want STOPPED", *stopped.DesiredStatus)
	}
	if err := s.WaitTasksStopped(agent); err != nil {
		t.Fatal(err)
	}
	if ended := s.DescribeTask(agent); ended.StopCode != ecstypes.TaskStopCodeUserInitiated ||
		*ended.StoppedReason != "the build was aborted" || *ended.Group != "agents" {
		t.Errorf("the stopped task is %s", harness.AsJSON(ended))
	}
	if running, ended := list("jenkins-1", ecstypes.DesiredStatusRunning), list("jenkins-1",
		ecstypes.DesiredStatusStopped); len(running) != 0 || !slices.Equal(ended, []string{agent}) {
		t.Errorf("after StopTask the running tasks are %v and the stopped ones %v", running, ended)
	}
}
