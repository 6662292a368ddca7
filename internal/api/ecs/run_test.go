package ecs_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// node makes a node that tasks can run on.
func (w *world) node(name string) {
	w.t.Helper()
	w.write(func(tx *store.Tx) error {
		task.PutNode(tx, task.Node{Name: name, Runtime: "process"})
		return nil
	})
}

// TestRunTask: standalone tasks are rows that wait for a node, with what the request says of them.
func TestRunTask(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.definition("job", types.NetworkModeAwsvpc)
	tagged1, err := w.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: aws.String(arns + "task-definition/job:1"), Tags: tagged("a=1", "b=1")})
	must(t, tagged1, err)
	in := &sdk.RunTaskInput{
		TaskDefinition: aws.String("job"), Count: aws.Int32(2), NetworkConfiguration: awsvpc("subnet-1"), Group: aws.String("nightly"),
		StartedBy: aws.String("cron/1"), Tags: tagged("b=2"), PropagateTags: types.PropagateTagsTaskDefinition,
		LaunchType: types.LaunchTypeExternal,
		Overrides:  &types.TaskOverride{ContainerOverrides: []types.ContainerOverride{{Name: aws.String("app")}}},
	}
	out, err := w.RunTask(ctx, in)
	refused(t, "InvalidParameter: No Container Instances were found in your cluster.", out, err)
	w.node("n1")
	out, err = w.RunTask(ctx, in)
	if must(t, out, err); len(out.Tasks) != 2 || len(out.Failures) != 0 {
		t.Fatalf("%d tasks, failures %v", len(out.Tasks), out.Failures)
	}
	for _, got := range out.Tasks {
		s := fmt.Sprintf("%s %s, group %s, started by %s, %s, definition %s, subnet %s, version %d", *got.LastStatus, *got.DesiredStatus,
			*got.Group, *got.StartedBy, got.LaunchType, strings.TrimPrefix(*got.TaskDefinitionArn, arns),
			*got.Attachments[0].Details[0].Value, got.Version)
		want := "PROVISIONING RUNNING, group nightly, started by cron/1, EXTERNAL, definition task-definition/job:1, subnet subnet-1, version 1"
		if s != want {
			t.Errorf("got  %s\nwant %s", s, want)
		}
		if d := diff(tagged("a=1", "b=2"), got.Tags); d != "" {
			t.Errorf("tags (-want +got):\n%s", d)
		}
	}
	list, err := w.ListTasks(ctx, &sdk.ListTasksInput{StartedBy: aws.String("cron/1"), LaunchType: types.LaunchTypeExternal})
	if len(must(t, list, err).TaskArns) != 2 {
		t.Errorf("ListTasks by startedBy: %v", list.TaskArns)
	}
	removed, err := w.UntagResource(ctx, &sdk.UntagResourceInput{ResourceArn: out.Tasks[0].TaskArn, TagKeys: []string{"a"}})
	must(t, removed, err)
	read, err := w.DescribeTasks(ctx, &sdk.DescribeTasksInput{Tasks: []string{*out.Tasks[0].TaskArn}, Include: []types.TaskField{"TAGS"}})
	if d := diff(tagged("b=2"), must(t, read, err).Tasks[0].Tags); d != "" {
		t.Errorf("tags read back (-want +got):\n%s", d)
	}
}

// TestRunTaskToken: a request with a token starts its tasks once, also when it is sent many times at once.
func TestRunTaskToken(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.node("n1")
	w.definition("job", types.NetworkModeBridge)
	run := func(count int32) (*sdk.RunTaskOutput, error) {
		return w.RunTask(ctx, &sdk.RunTaskInput{TaskDefinition: aws.String("job"), Count: &count, ClientToken: aws.String("t1")})
	}
	const callers = 8
	ids := make(chan string, callers)
	for range callers {
		go func() {
			out, err := run(2)
			if err != nil {
				ids <- err.Error()
				return
			}
			ids <- *out.Tasks[0].TaskArn + " " + *out.Tasks[1].TaskArn
		}()
	}
	first := <-ids
	for range callers - 1 {
		if again := <-ids; again != first {
			t.Errorf("one call has started %s, another %s", first, again)
		}
	}
	list, err := w.ListTasks(ctx, &sdk.ListTasksInput{})
	if len(must(t, list, err).TaskArns) != 2 {
		t.Errorf("there are %v", list.TaskArns)
	}
	_, err = run(1)
	var conflict *types.ConflictException
	if !errors.As(err, &conflict) || strings.Join(conflict.ResourceIds, " ") != first {
		t.Errorf("another request with the token: %v, want a conflict that names %s", err, first)
	}
}

func TestRunTaskRules(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.definition("job", types.NetworkModeBridge)
	registered, err := w.RegisterTaskDefinition(ctx, &sdk.RegisterTaskDefinitionInput{
		Family: aws.String("fargate"), NetworkMode: types.NetworkModeAwsvpc, Cpu: aws.String("256"), Memory: aws.String("512"),
		ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String("app"), Image: aws.String("i")}},
	})
	must(t, registered, err)
	for _, tc := range []struct {
		name, want string
		in         sdk.RunTaskInput
	}{
		{"count", "InvalidParameter: count must be between 1 and 10", sdk.RunTaskInput{Count: aws.Int32(11)}},
		{"token", "InvalidParameter: idempotency token longer than 64.", sdk.RunTaskInput{ClientToken: aws.String(strings.Repeat("x", 65))}},
		{"group", "InvalidParameter: Invalid namespace for group.", sdk.RunTaskInput{Group: aws.String("service:web")}},
		{"startedBy", "InvalidParameter: startedBy may have...", sdk.RunTaskInput{StartedBy: aws.String("a b")}},
		{"propagateTags", "InvalidParameter: Invalid value for propagateTags", sdk.RunTaskInput{PropagateTags: types.PropagateTagsService}},
		{"overrides", "UnsupportedFeature: Overrides are not supported...", sdk.RunTaskInput{Overrides: &types.TaskOverride{
			ContainerOverrides: []types.ContainerOverride{{Name: aws.String("app"), Command: []string{"x"}}},
		}}},
		{"network", "InvalidParameter: Network Configuration is not valid...", sdk.RunTaskInput{NetworkConfiguration: awsvpc("s")}},
		{"definition", "Client: TaskDefinition not found.", sdk.RunTaskInput{TaskDefinition: aws.String("none")}},
		{"cluster", "ClusterNotFound: Cluster not found.", sdk.RunTaskInput{Cluster: aws.String("none")}},
		{"Fargate", "InvalidParameter: Task definition does not support launch_type FARGATE.", sdk.RunTaskInput{LaunchType: types.LaunchTypeFargate}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.in.TaskDefinition == nil {
				tc.in.TaskDefinition = aws.String("job")
			}
			out, err := w.RunTask(ctx, &tc.in)
			refused(t, tc.want, out, err)
		})
	}
	out, err := w.RunTask(ctx, &sdk.RunTaskInput{
		TaskDefinition: aws.String("fargate"), LaunchType: types.LaunchTypeFargate, NetworkConfiguration: awsvpc("subnet-1"),
	})
	if must(t, out, err); len(out.Tasks) != 0 || len(out.Failures) != 1 || !strings.HasPrefix(*out.Failures[0].Reason, "Capacity is unavailable") {
		t.Errorf("Fargate without a node: %v, %v", out.Tasks, out.Failures)
	}
}

func TestStartTask(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.node("n1")
	w.definition("job", types.NetworkModeBridge)
	n1 := task.ContainerInstanceID("n1")
	out, err := w.StartTask(ctx, &sdk.StartTaskInput{TaskDefinition: aws.String("job"), ContainerInstances: []string{
		n1, arns + "container-instance/default/" + n1, "none",
	}})
	if must(t, out, err); len(out.Tasks) != 2 || *out.Tasks[0].ContainerInstanceArn != arns+"container-instance/default/"+n1 {
		t.Errorf("tasks %v", out.Tasks)
	}
	if d := diff([]types.Failure{{Arn: aws.String(arns + "container-instance/default/none"), Reason: aws.String("MISSING")}}, out.Failures); d != "" {
		t.Errorf("failures (-want +got):\n%s", d)
	}
	none, err := w.StartTask(ctx, &sdk.StartTaskInput{TaskDefinition: aws.String("job"), ContainerInstances: []string{}})
	refused(t, "Client: Container Instances cannot be empty.", none, err)
}
