package ecs_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// id returns a task id that ends in n.
func id(n int) string { return fmt.Sprintf("%032x", n) }

// createTask writes the row of a task as the rollout loop and an agent would.
func (api *testAPI) createTask(t task.Task) {
	api.t.Helper()
	t.Account, t.Region, t.Created = account, region, epoch
	if t.Cluster == "" {
		t.Cluster = "default"
	}
	if t.Revision == 0 {
		t.Revision = 1
	}
	api.update(func(tx *store.Tx) error { task.CreateTask(tx, t); return nil })
}

func (api *testAPI) describeTask(n int) types.Task {
	api.t.Helper()
	out := apitest.Must(api.DescribeTasks(api.t.Context(), &sdk.DescribeTasksInput{Tasks: []string{id(n)}}))(api.t)
	if len(out.Tasks) != 1 {
		api.t.Fatalf("DescribeTasks: failures %v", out.Failures)
	}
	return out.Tasks[0]
}

// TestDescribeTask checks all members of a running awsvpc task of a service.
func TestDescribeTask(t *testing.T) {
	api := newAPI(t)
	definition := apitest.Must(api.RegisterTaskDefinition(t.Context(), &sdk.RegisterTaskDefinitionInput{
		Family: aws.String("web"), NetworkMode: types.NetworkModeAwsvpc, Cpu: aws.String("256"), Memory: aws.String("512"),
		ContainerDefinitions: []types.ContainerDefinition{
			{Name: aws.String("app"), Image: aws.String("app:1"), Cpu: 128, Memory: aws.Int32(256),
				PortMappings: []types.PortMapping{{ContainerPort: aws.Int32(80)}}},
			{Name: aws.String("side"), Image: aws.String("side:1"), Essential: aws.Bool(false),
				MemoryReservation: aws.Int32(32)},
		},
	}))(t).TaskDefinition.TaskDefinitionArn
	started := epoch.Add(5)
	api.createTask(task.Task{
		ID: task.ID(id(1)), Service: "web", Deployment: "ecs-svc/1", Family: "web", Node: "node-1",
		Network: &task.Network{Subnets: []string{"subnet-1", "subnet-2"}},
		Observed: task.Observed{
			State: task.Running, Address: netip.MustParseAddr("127.64.0.7"), Health: task.HealthHealthy, StartedAt: &started,
			Containers: []task.Container{
				{Name: "app", Status: "RUNNING", RuntimeID: "4711", Health: task.HealthHealthy,
					Bindings: []task.Binding{{HostIP: "127.64.0.7", ContainerPort: 80, HostPort: 80, Protocol: "tcp"}}},
				{Name: "side", Status: "STOPPED", ExitCode: ptr(137), Reason: "OutOfMemoryError", Health: task.HealthUnknown},
			},
		},
	})
	architecture := "x86_64"
	if runtime.GOARCH != "amd64" {
		architecture = runtime.GOARCH
	}
	got := api.describeTask(1)
	arn := aws.String(arns + "task/default/" + id(1))
	attachment := aws.String(task.ContainerID(task.ID(id(1)), "network interface"))
	interfaces := []types.NetworkInterface{{AttachmentId: attachment, PrivateIpv4Address: aws.String("127.64.0.7")}}
	container := func(name string) *string {
		return aws.String(arns + "container/default/" + id(1) + "/" + task.ContainerID(task.ID(id(1)), name))
	}
	want := types.Task{
		TaskArn: arn, ClusterArn: aws.String(arns + "cluster/default"), TaskDefinitionArn: definition, Version: 1,
		AvailabilityZone: aws.String("eu-west-1a"), Group: aws.String("service:web"), StartedBy: aws.String("ecs-svc/1"),
		LaunchType: types.LaunchTypeEc2, LastStatus: aws.String("RUNNING"), DesiredStatus: aws.String("RUNNING"),
		HealthStatus: types.HealthStatusHealthy, Cpu: aws.String("256"), Memory: aws.String("512"),
		Connectivity: types.ConnectivityConnected, CreatedAt: got.CreatedAt, StartedAt: got.StartedAt,
		ContainerInstanceArn: aws.String(arns + "container-instance/default/" + task.ContainerInstanceID("node-1")),
		Attributes:           []types.Attribute{{Name: aws.String("ecs.cpu-architecture"), Value: &architecture}},
		Attachments: []types.Attachment{{
			Id: attachment, Type: aws.String("ElasticNetworkInterface"), Status: aws.String("ATTACHED"),
			Details: []types.KeyValuePair{
				{Name: aws.String("subnetId"), Value: aws.String("subnet-1")},
				{Name: aws.String("privateIPv4Address"), Value: aws.String("127.64.0.7")},
			},
		}},
		Containers: []types.Container{
			{ContainerArn: container("app"), TaskArn: arn, Name: aws.String("app"), Image: aws.String("app:1"),
				LastStatus: aws.String("RUNNING"), RuntimeId: aws.String("4711"), HealthStatus: types.HealthStatusHealthy,
				NetworkInterfaces: interfaces, NetworkBindings: []types.NetworkBinding{}, Cpu: aws.String("128"),
				Memory: aws.String("256")},
			{ContainerArn: container("side"), TaskArn: arn, Name: aws.String("side"), Image: aws.String("side:1"),
				LastStatus: aws.String("STOPPED"), ExitCode: aws.Int32(137), Reason: aws.String("OutOfMemoryError"),
				HealthStatus:      types.HealthStatusUnknown,
				NetworkInterfaces: interfaces, NetworkBindings: []types.NetworkBinding{}, Cpu: aws.String("0"),
				MemoryReservation: aws.String("32")},
		},
		Overrides: &types.TaskOverride{
			ContainerOverrides: []types.ContainerOverride{{Name: aws.String("app")}, {Name: aws.String("side")}},
			//nolint:staticcheck // AWS still sends the deprecated member
			InferenceAcceleratorOverrides: []types.InferenceAcceleratorOverride{},
		},
		//nolint:staticcheck // AWS still sends the deprecated member
		InferenceAccelerators: []types.InferenceAccelerator{}, Tags: []types.Tag{},
	}
	if d := diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestTaskStates checks the statuses in the description of a task in each state.
func TestTaskStates(t *testing.T) {
	api := newAPI(t)
	api.registerDefinition("web", types.NetworkModeAwsvpc, 80)
	address := netip.MustParseAddr("127.64.0.7")
	for i, tc := range []struct {
		state   task.State
		desired string
		address netip.Addr
		want    string // last status, desired status, attachment, container
	}{
		{0, task.DesiredRunning, netip.Addr{}, "PROVISIONING RUNNING PRECREATED PENDING"},
		{task.Provisioning, task.DesiredRunning, netip.Addr{}, "PROVISIONING RUNNING PRECREATED PENDING"},
		{task.Pending, task.DesiredRunning, netip.Addr{}, "PENDING RUNNING ATTACHING PENDING"},
		{task.Activating, task.DesiredRunning, address, "ACTIVATING RUNNING ATTACHED PENDING"},
		{task.Running, task.DesiredStopped, address, "RUNNING STOPPED ATTACHED PENDING"},
		{task.Deactivating, task.DesiredRunning, address, "DEACTIVATING STOPPED ATTACHED PENDING"},
		{task.Stopping, task.DesiredStopped, address, "STOPPING STOPPED ATTACHED PENDING"},
		{task.Deprovisioning, task.DesiredStopped, address, "DEPROVISIONING STOPPED DETACHING PENDING"},
		{task.Stopped, task.DesiredStopped, address, "STOPPED STOPPED DELETED STOPPED"},
	} {
		api.createTask(task.Task{ID: task.ID(id(i)), Family: "web", Observed: task.Observed{State: tc.state,
			Address: tc.address}})
		if tc.desired == task.DesiredStopped {
			api.update(func(tx *store.Tx) error {
				_, _, err := task.Stop(tx, task.Ref{Scope: api.sc, Cluster: "default", ID: task.ID(id(i))},
					task.StopCause{Code: task.UserInitiated}, epoch)
				return err
			})
		}
		got := api.describeTask(i)
		if s := strings.Join([]string{*got.LastStatus, *got.DesiredStatus, *got.Attachments[0].Status,
			*got.Containers[0].LastStatus}, " "); s != tc.want {
			t.Errorf("state %d, desired %s: %s, want %s", tc.state, tc.desired, s, tc.want)
		}
		if got.ContainerInstanceArn != nil || got.Connectivity != "" {
			t.Errorf("task without a node: container instance %v, connectivity %s",
				got.ContainerInstanceArn, got.Connectivity)
		}
	}
}

// TestBridgeTask checks the network bindings of a task in bridge mode.
func TestBridgeTask(t *testing.T) {
	api := newAPI(t)
	api.registerDefinition("web", types.NetworkModeBridge, 80)
	api.createTask(task.Task{ID: task.ID(id(1)), Family: "web", Node: "node-1", Observed: task.Observed{
		State: task.Running, Address: netip.MustParseAddr("192.0.2.1"), Containers: []task.Container{{
			Name: "app", Status: "RUNNING", Bindings: []task.Binding{{HostIP: "0.0.0.0", ContainerPort: 80, HostPort: 49153,
				Protocol: "tcp"}},
		}},
	}})
	got := api.describeTask(1)
	want := []types.NetworkBinding{{BindIP: aws.String("0.0.0.0"), ContainerPort: aws.Int32(80),
		HostPort: aws.Int32(49153), Protocol: "tcp"}}
	if d := diff(want, got.Containers[0].NetworkBindings); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if len(got.Attachments) != 0 || len(got.Containers[0].NetworkInterfaces) != 0 || *got.Group != "family:web" ||
		got.StartedBy != nil {
		t.Errorf("attachments %v, interfaces %v, group %s, started by %v", got.Attachments,
			got.Containers[0].NetworkInterfaces, *got.Group, got.StartedBy)
	}
}

// TestFargateTask checks that a task on Fargate has a platform and no container instance.
func TestFargateTask(t *testing.T) {
	api := newAPI(t)
	api.registerDefinition("web", types.NetworkModeAwsvpc)
	api.update(func(tx *store.Tx) error {
		task.PutService(tx, task.Service{Account: account, Region: region, Cluster: "default", Name: "web",
			Status: task.Active, LaunchType: task.Fargate})
		return nil
	})
	api.createTask(task.Task{ID: task.ID(id(1)), Family: "web", Service: "web", Node: "node-1",
		Observed: task.Observed{State: task.Running}})
	got := api.describeTask(1)
	if got.LaunchType != types.LaunchTypeFargate || *got.PlatformVersion != "1.4.0" || *got.PlatformFamily != "Linux" ||
		got.ContainerInstanceArn != nil || got.EphemeralStorage.SizeInGiB != 20 {
		t.Errorf("got %+v", got)
	}
}

func TestDescribeTasks(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.registerDefinition("web", "")
	api.createTask(task.Task{ID: task.ID(id(1)), Family: "web"})
	hyphens := "00000000-0000-0000-0000-000000000001"
	out := apitest.Must(api.DescribeTasks(ctx, &sdk.DescribeTasksInput{Tasks: []string{arns + "task/default/" + id(1),
		id(1), hyphens, id(2)}}))(t)
	if len(out.Tasks) != 3 {
		t.Errorf("%d tasks, want 3", len(out.Tasks))
	}
	if d := diff([]types.Failure{{Arn: aws.String(arns + "task/default/" + id(2)), Reason: aws.String("MISSING")}},
		out.Failures); d != "" {
		t.Errorf("failures (-want +got):\n%s", d)
	}
	for _, tc := range []struct {
		name, want string
		in         sdk.DescribeTasksInput
	}{
		{"no tasks", "InvalidParameter: Tasks cannot be empty.", sdk.DescribeTasksInput{Tasks: []string{}}},
		{"too many", "InvalidParameter: At most 100 tasks can be described at once",
			sdk.DescribeTasksInput{Tasks: make([]string, 101)}},
		{"unknown cluster", "ClusterNotFound: Cluster not found.",
			sdk.DescribeTasksInput{Cluster: aws.String("none"), Tasks: []string{id(1)}}},
		{"task of another cluster",
			"InvalidParameter: Invalid identifier: Identifier is for cluster prod. Your cluster is default",
			sdk.DescribeTasksInput{Tasks: []string{arns + "task/prod/" + id(1)}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantError(api.DescribeTasks(ctx, &tc.in))(t, tc.want)
		})
	}
}

func TestListTasks(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.createCluster("prod")
	api.createService("prod", "web", func(in *sdk.CreateServiceInput) { in.LaunchType = types.LaunchTypeExternal })
	for i, tk := range []task.Task{
		{Service: "web", Family: "web", Deployment: "ecs-svc/1", Node: "n1", Observed: task.Observed{State: task.Running}},
		{Service: "web", Family: "web", Deployment: "ecs-svc/2", Node: "n2", Observed: task.Observed{State: task.Pending}},
		{Service: "web", Family: "web", Deployment: "ecs-svc/1", Node: "n1", Observed: task.Observed{State: task.Stopped}},
		{Family: "job", Node: "n1", Observed: task.Observed{State: task.Running}},
		{Family: "job", Observed: task.Observed{State: task.Provisioning}},
	} {
		tk.ID, tk.Cluster = task.ID(id(i)), "prod"
		api.createTask(tk)
	}
	n1 := task.ContainerInstanceID("n1")
	for _, tc := range []struct {
		name string
		in   sdk.ListTasksInput
		want string // the last digits of the ids; pages are separated by |
	}{
		{"default status", sdk.ListTasksInput{}, "0 1 3 4"},
		{"three to a page", sdk.ListTasksInput{MaxResults: aws.Int32(3)}, "0 1 3 | 4"},
		{"stopped", sdk.ListTasksInput{DesiredStatus: "STOPPED"}, "2"},
		{"desired status PENDING", sdk.ListTasksInput{DesiredStatus: "PENDING"}, ""},
		{"service", sdk.ListTasksInput{ServiceName: aws.String("web")}, "0 1"},
		{"service by ARN, stopped", sdk.ListTasksInput{ServiceName: aws.String(arns + "service/prod/web"),
			DesiredStatus: "STOPPED"}, "2"},
		{"family", sdk.ListTasksInput{Family: aws.String("job")}, "3 4"},
		{"deployment", sdk.ListTasksInput{StartedBy: aws.String("ecs-svc/2"), DesiredStatus: "RUNNING"}, "1"},
		{"instance", sdk.ListTasksInput{ContainerInstance: &n1}, "0 3"},
		{"instance by ARN", sdk.ListTasksInput{ContainerInstance: aws.String(arns + "container-instance/prod/" + n1),
			Family: aws.String("job")}, "3"},
		{"launch type", sdk.ListTasksInput{LaunchType: types.LaunchTypeExternal}, "0 1"},
		{"launch type of standalone tasks", sdk.ListTasksInput{LaunchType: types.LaunchTypeEc2}, "3 4"},
		{"daemons", sdk.ListTasksInput{DaemonName: aws.String("d")}, ""},
		{"unknown service", sdk.ListTasksInput{ServiceName: aws.String("none")}, "ServiceNotFound: Service not found."},
		{"unknown cluster", sdk.ListTasksInput{Cluster: aws.String("none")}, "ClusterNotFound: Cluster not found."},
		{"unknown status", sdk.ListTasksInput{DesiredStatus: "IDLE"},
			"InvalidParameter: desired status should be one of [RUNNING,PENDING,STOPPED]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.in.Cluster == nil {
				tc.in.Cluster = aws.String("prod")
			}
			got, pages := "", sdk.NewListTasksPaginator(api, &tc.in)
			for pages.HasMorePages() {
				page, err := pages.NextPage(ctx)
				if err != nil {
					got = apitest.ErrorText(err)
					break
				}
				var ids []string
				for _, arn := range page.TaskArns {
					ids = append(ids, arn[len(arn)-1:])
				}
				if got != "" {
					got += " | "
				}
				got += strings.Join(ids, " ")
			}
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestStopTask(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.registerDefinition("web", "")
	for _, tc := range []struct {
		reason *string
		want   string
	}{{nil, "Task stopped by user"}, {aws.String("too slow"), "too slow"}} {
		api.createTask(task.Task{ID: task.ID(id(1)), Family: "web", Observed: task.Observed{State: task.Running}})
		out := apitest.Must(api.StopTask(ctx, &sdk.StopTaskInput{Task: aws.String(id(1)), Reason: tc.reason}))(t)
		got := out.Task
		if *got.DesiredStatus != "STOPPED" || *got.LastStatus != "RUNNING" ||
			got.StopCode != types.TaskStopCodeUserInitiated || *got.StoppedReason != tc.want ||
			got.StoppingAt == nil || got.Version != 2 {
			t.Errorf("got %+v", got)
		}
		out = apitest.Must(api.StopTask(ctx, &sdk.StopTaskInput{Task: aws.String(id(1)), Reason: aws.String("again")}))(t)
		if again := out.Task; *again.StoppedReason != tc.want || again.Version != 2 {
			t.Errorf("reason after a second StopTask: %s, want the first one", *again.StoppedReason)
		}
	}
	wantError(api.StopTask(ctx, &sdk.StopTaskInput{Task: aws.String(id(2))}))(t,
		"InvalidParameter: The referenced task was not found.")
}

// TestExecuteCommand checks the errors of AWS's preconditions. A call that meets all of them fails too, because the
// server has no sessions.
func TestExecuteCommand(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.registerDefinition("web", types.NetworkModeBridge)
	api.createTask(task.Task{ID: task.ID(id(1)), Family: "web", Node: "n1", Observed: task.Observed{State: task.Running}})
	api.createTask(task.Task{ID: task.ID(id(2)), Family: "web", Node: "n1", ExecuteCommand: true,
		Observed: task.Observed{State: task.Running}})
	api.createTask(task.Task{ID: task.ID(id(3)), Family: "web", ExecuteCommand: true,
		Observed: task.Observed{State: task.Pending}})
	for _, tc := range []struct {
		task, container string
		silent          bool
		want            string
	}{
		{id(9), "", false, "InvalidParameter: The referenced task was not found."},
		{id(2), "", true, "InvalidParameter: Interactive is the only mode supported currently."},
		{id(3), "", false,
			"InvalidParameter: The execute command failed because the task is not RUNNING; it is PENDING."},
		{id(1), "", false,
			"InvalidParameter: The execute command failed because execute command was not enabled when the task " +
				"was run or the execute command agent isn’t running. Wait and try again or run a new task with " +
				"execute command enabled and try again."},
		{id(2), "db", false, "InvalidParameter: The container db does not exist in the task definition."},
		{id(2), "app", false,
			"TargetNotConnected: The execute command failed because this server has no sessions..."},
	} {
		in := &sdk.ExecuteCommandInput{Task: &tc.task, Command: aws.String("sh"), Interactive: !tc.silent}
		if tc.container != "" {
			in.Container = &tc.container
		}
		wantError(api.ExecuteCommand(ctx, in))(t, tc.want)
	}
}
