package ecs_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// addNode adds a live node that runs processes.
func (api *testAPI) addNode(name string) { api.joinNode(task.Node{Name: name, Runtime: "process"}) }

// joinNode adds a live node. leave ends its lease.
func (api *testAPI) joinNode(n task.Node) (leave func()) {
	api.t.Helper()
	api.update(func(tx *store.Tx) error {
		task.PutNode(tx, n)
		return nil
	})
	leave, err := task.KeepAlive(api.t.Context(), api.db, n.Name)
	if err != nil {
		api.t.Fatal(err)
	}
	api.t.Cleanup(leave)
	return leave
}

// TestRunTask checks that standalone tasks have the members of the request and are placed on a node.
func TestRunTask(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.registerDefinition("job", types.NetworkModeAwsvpc)
	apitest.Must(api.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: aws.String(arns + "task-definition/job:1"),
		Tags: tagged("a=1", "b=1")}))(t)
	in := &sdk.RunTaskInput{
		TaskDefinition: aws.String("job"), Count: aws.Int32(2), NetworkConfiguration: awsvpc("subnet-1"),
		Group:     aws.String("nightly"),
		StartedBy: aws.String("cron/1"), Tags: tagged("b=2"), PropagateTags: types.PropagateTagsTaskDefinition,
		LaunchType: types.LaunchTypeExternal, EnableECSManagedTags: true,
		Overrides: &types.TaskOverride{ContainerOverrides: []types.ContainerOverride{{Name: aws.String("app")}}},
	}
	wantError(api.RunTask(ctx, in))(t, "InvalidParameter: No Container Instances were found in your cluster.")
	api.addNode("n1")
	out := apitest.Must(api.RunTask(ctx, in))(t)
	if len(out.Tasks) != 2 || len(out.Failures) != 0 {
		t.Fatalf("RunTask: %d tasks, failures %v", len(out.Tasks), out.Failures)
	}
	for _, got := range out.Tasks {
		s := fmt.Sprintf("%s %s, group %s, started by %s, %s, definition %s, subnet %s, version %d", *got.LastStatus,
			*got.DesiredStatus, *got.Group, *got.StartedBy, got.LaunchType, strings.TrimPrefix(*got.TaskDefinitionArn, arns),
			*got.Attachments[0].Details[0].Value, got.Version)
		want := "PROVISIONING RUNNING, group nightly, started by cron/1, EXTERNAL, " +
			"definition task-definition/job:1, subnet subnet-1, version 1"
		if s != want {
			t.Errorf("got  %s\nwant %s", s, want)
		}
		if d := diff(tagged("a=1", "aws:ecs:clusterName=default", "b=2"), got.Tags); d != "" {
			t.Errorf("tags (-want +got):\n%s", d)
		}
	}
	list := apitest.Must(api.ListTasks(ctx, &sdk.ListTasksInput{StartedBy: aws.String("cron/1"),
		LaunchType: types.LaunchTypeExternal}))(t)
	if len(list.TaskArns) != 2 {
		t.Errorf("ListTasks by startedBy: %v", list.TaskArns)
	}
	apitest.Must(api.UntagResource(ctx, &sdk.UntagResourceInput{ResourceArn: out.Tasks[0].TaskArn,
		TagKeys: []string{"a"}}))(t)
	if d := diff(tagged("aws:ecs:clusterName=default", "b=2"),
		apitest.Must(api.DescribeTasks(ctx, &sdk.DescribeTasksInput{Tasks: []string{*out.Tasks[0].TaskArn},
			Include: []types.TaskField{"TAGS"}}))(t).Tasks[0].Tags); d != "" {
		t.Errorf("tags after UntagResource (-want +got):\n%s", d)
	}
	wantError(api.UntagResource(ctx, &sdk.UntagResourceInput{ResourceArn: out.Tasks[0].TaskArn,
		TagKeys: []string{"aws:ecs:clusterName"}}))(t,
		"InvalidParameter: The tag aws:ecs:clusterName begins with aws:, which is reserved")
}

// TestRunTaskToken checks that concurrent requests with the same token start the tasks once.
func TestRunTaskToken(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.addNode("n1")
	api.registerDefinition("job", types.NetworkModeBridge)
	run := func(count int32) (*sdk.RunTaskOutput, error) {
		return api.RunTask(ctx, &sdk.RunTaskInput{TaskDefinition: aws.String("job"), Count: &count,
			ClientToken: aws.String("t1")})
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
			t.Errorf("one call started %s, and another one %s", first, again)
		}
	}
	list := apitest.Must(api.ListTasks(ctx, &sdk.ListTasksInput{}))(t)
	if len(list.TaskArns) != 2 {
		t.Errorf("tasks %v, want two", list.TaskArns)
	}
	_, err := run(1)
	var conflict *types.ConflictException
	if !errors.As(err, &conflict) || strings.Join(conflict.ResourceIds, " ") != first {
		t.Errorf("different request with the token: %v, want a conflict with the tasks %s", err, first)
	}
}

// overriding returns a request with overrides of a container.
func overriding(c types.ContainerOverride) sdk.RunTaskInput {
	return sdk.RunTaskInput{Overrides: &types.TaskOverride{ContainerOverrides: []types.ContainerOverride{c}}}
}

// TestOverrides checks the overrides in a task's description, and the definition that the agent runs.
func TestOverrides(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.addNode("n1")
	apitest.Must(api.RegisterTaskDefinition(ctx, &sdk.RegisterTaskDefinitionInput{
		Family: aws.String("job"), NetworkMode: types.NetworkModeAwsvpc, Cpu: aws.String("256"), Memory: aws.String("512"),
		TaskRoleArn: aws.String("r0"), ContainerDefinitions: []types.ContainerDefinition{
			{Name: aws.String("app"), Image: aws.String("i"), Command: []string{"run"},
				Environment: []types.KeyValuePair{{Name: aws.String("A"), Value: aws.String("1")}}},
			{Name: aws.String("side"), Image: aws.String("i")},
		},
	}))(t)
	over := types.TaskOverride{
		Cpu: aws.String("1 vCPU"), Memory: aws.String("2048"), TaskRoleArn: aws.String("r1"),
		ExecutionRoleArn: aws.String("r2"),
		EphemeralStorage: &types.EphemeralStorage{SizeInGiB: 50},
		ContainerOverrides: []types.ContainerOverride{{
			Name: aws.String("app"), Command: []string{"run", "fast"}, Cpu: aws.Int32(512), Memory: aws.Int32(1024),
			MemoryReservation: aws.Int32(128),
			Environment: []types.KeyValuePair{{Name: aws.String("A"), Value: aws.String("2")},
				{Name: aws.String("B"), Value: aws.String("2")}},
			EnvironmentFiles: []types.EnvironmentFile{{Type: "s3", Value: aws.String("arn:aws:s3:::b/a.env")}},
		}},
	}
	out := apitest.Must(api.RunTask(ctx, &sdk.RunTaskInput{
		TaskDefinition: aws.String("job"), LaunchType: types.LaunchTypeFargate, NetworkConfiguration: awsvpc("s"),
		Overrides: &over, EnableExecuteCommand: true,
	}))(t)
	got := apitest.Must(api.DescribeTasks(ctx, &sdk.DescribeTasksInput{Tasks: []string{*out.Tasks[0].TaskArn}}))(
		t).Tasks[0]
	want := over
	want.ContainerOverrides = append(want.ContainerOverrides, types.ContainerOverride{Name: aws.String("side")})
	//nolint:staticcheck // AWS still sends the deprecated member
	want.InferenceAcceleratorOverrides = []types.InferenceAcceleratorOverride{}
	if d := diff(&want, got.Overrides); d != "" {
		t.Errorf("overrides (-want +got):\n%s", d)
	}
	app := got.Containers[0]
	if s := fmt.Sprintln(*got.Cpu, *got.Memory, got.EphemeralStorage.SizeInGiB, got.EnableExecuteCommand, *app.Cpu,
		*app.Memory, *app.MemoryReservation); s != "1024 2048 50 true 512 1024 128\n" {
		t.Errorf("cpu and memory: %s", s)
	}
	row, err := task.GetTask(api.db.Snapshot(), task.Ref{Scope: api.sc, Cluster: "default",
		ID: task.ID((*got.TaskArn)[len(arns+"task/default/"):])})
	if err != nil {
		t.Fatal(err)
	}
	def, err := task.GetDefinition(api.db.Snapshot(), api.sc, "job", 1)
	if err != nil {
		t.Fatal(err)
	}
	runs := row.Overrides.Apply(def).Containers[0]
	if s := fmt.Sprintln(runs.Command, runs.Environment, runs.EnvironmentFiles, row.Overrides.CPU, row.Overrides.Memory,
		row.Overrides.TaskRole, row.Overrides.ExecutionRole); s !=
		"[run fast] map[A:2 B:2] [arn:aws:s3:::b/a.env] 1024 2048 r1 r2\n" {
		t.Errorf("the agent runs %s", s)
	}
}

// TestManyRunTasks checks that each of a thousand concurrent calls starts its task once. A call that cannot be
// committed within the write timeout fails with ServiceUnavailable, and the SDK retries it with the same token.
func TestManyRunTasks(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.addNode("n1")
	api.createCluster("default") // otherwise each call conflicts with the first one, which creates the cluster
	api.registerDefinition("job", types.NetworkModeBridge)
	retryer := retry.AddWithMaxAttempts(
		retry.NewStandard(func(o *retry.StandardOptions) { o.RateLimiter = ratelimit.None }), 100)
	const calls = 1000
	arns := make([]string, calls)
	var all sync.WaitGroup
	for n := range calls {
		all.Go(func() {
			out, err := api.RunTask(ctx, &sdk.RunTaskInput{TaskDefinition: aws.String("job"),
				StartedBy: aws.String(fmt.Sprint(n % 10))}, func(o *sdk.Options) { o.Retryer = retryer })
			if err != nil || len(out.Tasks) != 1 {
				t.Errorf("call %d: %v", n, err)
				return
			}
			arns[n] = *out.Tasks[0].TaskArn
		})
	}
	all.Wait()
	var listed []string
	for n := range 10 {
		pages := sdk.NewListTasksPaginator(api, &sdk.ListTasksInput{StartedBy: aws.String(fmt.Sprint(n))})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			listed = append(listed, page.TaskArns...)
		}
	}
	slices.Sort(arns)
	slices.Sort(listed)
	if !slices.Equal(arns, listed) {
		t.Errorf("%d tasks are listed, want the %d that were started", len(listed), len(arns))
	}
}

func TestRunTaskRules(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.addNode("n1")
	api.registerDefinition("job", types.NetworkModeBridge)
	apitest.Must(api.RegisterTaskDefinition(ctx, &sdk.RegisterTaskDefinitionInput{
		Family: aws.String("fargate"), NetworkMode: types.NetworkModeAwsvpc, Cpu: aws.String("256"),
		Memory:               aws.String("512"),
		ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String("app"), Image: aws.String("i")}},
	}))(t)
	for _, tc := range []struct {
		name, want string
		in         sdk.RunTaskInput
	}{
		{"count", "InvalidParameter: count must be between 1 and 10", sdk.RunTaskInput{Count: aws.Int32(11)}},
		{"token", "InvalidParameter: idempotency token longer than 64.",
			sdk.RunTaskInput{ClientToken: aws.String(strings.Repeat("x", 65))}},
		{"group", "InvalidParameter: Invalid namespace for group.", sdk.RunTaskInput{Group: aws.String("service:web")}},
		{"startedBy", "InvalidParameter: startedBy may have...", sdk.RunTaskInput{StartedBy: aws.String("a b")}},
		{"propagateTags", "InvalidParameter: Invalid value for propagateTags",
			sdk.RunTaskInput{PropagateTags: types.PropagateTagsService}},
		{"override of an unknown container",
			"InvalidParameter: Override for container named db is not a container in the TaskDefinition.",
			overriding(types.ContainerOverride{Name: aws.String("db")})},
		{"override without a name", "InvalidParameter: The name of a container override can not be blank.",
			overriding(types.ContainerOverride{Command: []string{"x"}})},
		{"override too long", "InvalidParameter: The overrides have 8...",
			overriding(types.ContainerOverride{Name: aws.String("app"), Command: []string{strings.Repeat("x", 8192)}})},
		{"invalid environment file",
			"Client: Invalid setting for container 'app'. An environment file's name must end with .env.",
			overriding(types.ContainerOverride{Name: aws.String("app"), EnvironmentFiles: []types.EnvironmentFile{
				{Type: "s3", Value: aws.String("arn:aws:s3:::b/a")}}})},
		{"override of memory below the reservation",
			"Client: Invalid setting for container 'app'. 'memory' must be greater...",
			overriding(types.ContainerOverride{Name: aws.String("app"), MemoryReservation: aws.Int32(128)})},
		{"override of memory beyond the task",
			"Client: The 'memory' setting for container 'app' is greater than for the task",
			sdk.RunTaskInput{Overrides: &types.TaskOverride{Memory: aws.String("32")}}},
		{"override of cpu", "InvalidParameter: Invalid 'cpu' setting for task.",
			sdk.RunTaskInput{Overrides: &types.TaskOverride{Cpu: aws.String("much")}}},
		{"override with a size that Fargate does not have",
			"Client: No Fargate configuration exists for given values: 256 CPU, 8192 memory...",
			sdk.RunTaskInput{
				TaskDefinition: aws.String("fargate"), LaunchType: types.LaunchTypeFargate, NetworkConfiguration: awsvpc("s"),
				Overrides: &types.TaskOverride{Memory: aws.String("8 GB")},
			}},
		{"launch type and strategy",
			"InvalidParameter: Specifying both a launch type and capacity provider strategy is not supported...",
			sdk.RunTaskInput{
				LaunchType: types.LaunchTypeEc2, CapacityProviderStrategy: []types.CapacityProviderStrategyItem{
					{CapacityProvider: aws.String("FARGATE"), Weight: 1}},
			}},
		{"network", "InvalidParameter: Network Configuration is not valid...",
			sdk.RunTaskInput{NetworkConfiguration: awsvpc("s")}},
		{"definition", "Client: TaskDefinition not found.", sdk.RunTaskInput{TaskDefinition: aws.String("none")}},
		{"cluster", "ClusterNotFound: Cluster not found.", sdk.RunTaskInput{Cluster: aws.String("none")}},
		{"Fargate", "InvalidParameter: Task definition does not support launch_type FARGATE.",
			sdk.RunTaskInput{LaunchType: types.LaunchTypeFargate}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.in.TaskDefinition == nil {
				tc.in.TaskDefinition = aws.String("job")
			}
			wantError(api.RunTask(ctx, &tc.in))(t, tc.want)
		})
	}
	api.update(func(tx *store.Tx) error { // the node no longer runs tasks
		task.PutNode(tx, task.Node{Name: "n1", Runtime: "none"})
		return nil
	})
	if out := apitest.Must(api.RunTask(ctx, &sdk.RunTaskInput{
		TaskDefinition: aws.String("fargate"), LaunchType: types.LaunchTypeFargate, NetworkConfiguration: awsvpc("subnet-1"),
	}))(t); len(out.Tasks) != 0 || len(out.Failures) != 1 ||
		!strings.HasPrefix(*out.Failures[0].Reason, "Capacity is unavailable") {
		t.Errorf("Fargate without a node: tasks %v, failures %v", out.Tasks, out.Failures)
	}
}

func TestStartTask(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.addNode("n1")
	api.registerDefinition("job", types.NetworkModeBridge)
	n1 := task.ContainerInstanceID("n1")
	out := apitest.Must(api.StartTask(ctx, &sdk.StartTaskInput{TaskDefinition: aws.String("job"),
		ContainerInstances: []string{n1, arns + "container-instance/default/" + n1, "none"}}))(t)
	if len(out.Tasks) != 2 || *out.Tasks[0].ContainerInstanceArn != arns+"container-instance/default/"+n1 {
		t.Errorf("tasks %v", out.Tasks)
	}
	if d := diff([]types.Failure{{Arn: aws.String(arns + "container-instance/default/none"),
		Reason: aws.String("MISSING")}}, out.Failures); d != "" {
		t.Errorf("failures (-want +got):\n%s", d)
	}
	wantError(api.StartTask(ctx, &sdk.StartTaskInput{TaskDefinition: aws.String("job"),
		ContainerInstances: []string{}}))(t, "Client: Container Instances cannot be empty.")
}
