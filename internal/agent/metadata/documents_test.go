package metadata

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/task"
)

// show returns the JSON of a value, which shows what pointers point to and omits what is nil.
func show(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTaskLimitsOf(t *testing.T) {
	for _, tc := range []struct {
		name        string
		cpu, memory string
		overrides   *task.Overrides
		want        string
	}{
		{"none", "", "", nil, "null"},
		{"definition", "512", "1024", nil, `{"CPU":0.5,"Memory":1024}`},
		{"memory only", "", "1024", nil, `{"Memory":1024}`},
		{"empty overrides", "512", "1024", &task.Overrides{}, `{"CPU":0.5,"Memory":1024}`},
		{"override of CPU", "512", "1024", &task.Overrides{CPU: 2048}, `{"CPU":2,"Memory":1024}`},
		{"overrides without limits", "", "", &task.Overrides{CPU: 256, Memory: 512}, `{"CPU":0.25,"Memory":512}`},
	} {
		if got := show(t, taskLimitsOf(&registered{CPU: tc.cpu, Memory: tc.memory}, tc.overrides)); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestContainerLimitsOf(t *testing.T) {
	override := func(o task.ContainerOverride) *task.Overrides {
		return &task.Overrides{Containers: map[string]task.ContainerOverride{"app": o}}
	}
	app := registeredContainer{Name: "app", CPU: 256, Memory: 512, MemoryReservation: 128}
	soft := registeredContainer{Name: "app", MemoryReservation: 128}
	for _, tc := range []struct {
		name      string
		container registeredContainer
		overrides *task.Overrides
		want      containerLimits
	}{
		{"definition", app, nil, containerLimits{256, 512}},
		{"reservation without limit", soft, nil, containerLimits{0, 128}},
		{"overrides of another container", app, &task.Overrides{}, containerLimits{256, 512}},
		{"override of CPU", app, override(task.ContainerOverride{CPU: 64}), containerLimits{64, 512}},
		{"override of memory", app, override(task.ContainerOverride{Memory: 64}), containerLimits{256, 64}},
		{"override of the reservation", app, override(task.ContainerOverride{MemoryReservation: 64}),
			containerLimits{256, 64}},
		{"unknown container", registeredContainer{}, override(task.ContainerOverride{CPU: 64}), containerLimits{}},
	} {
		if got := containerLimitsOf(tc.container, tc.overrides); got != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
}

// TestContainerLabels checks that a definition cannot replace the labels of ECS's agent.
func TestContainerLabels(t *testing.T) {
	row := &task.Task{ID: "id", Account: "000000000000", Region: "eu-west-1", Cluster: "c", Family: "f", Revision: 3}
	got := containerLabels(row, "app", map[string]string{"team": "red", "com.amazonaws.ecs.cluster": "forged"})
	want := map[string]string{
		"team": "red", "com.amazonaws.ecs.cluster": "c", "com.amazonaws.ecs.container-name": "app",
		"com.amazonaws.ecs.task-arn": row.ARN(), "com.amazonaws.ecs.task-definition-family": "f",
		"com.amazonaws.ecs.task-definition-version": "3",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("labels %v, want %v", got, want)
	}
}

func TestPortDocs(t *testing.T) {
	ports := []agent.PortBinding{{Container: 80, Host: 32768, HostIP: netip.MustParseAddr("10.0.0.1"), Protocol: "tcp"}}
	for mode, want := range map[string]string{
		agent.NetworkBridge: `[{"ContainerPort":80,"Protocol":"tcp","HostPort":32768,"HostIp":"10.0.0.1"}]`,
		agent.NetworkAWSVPC: `[{"ContainerPort":80,"Protocol":"tcp","HostPort":32768}]`,
	} {
		if got := show(t, portDocs(mode, ports)); got != want {
			t.Errorf("mode %s: %s, want %s", mode, got, want)
		}
	}
	if got := portDocs(agent.NetworkBridge, nil); got != nil {
		t.Errorf("without ports: %v, want none", got)
	}
}

func TestNetwork(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	for _, tc := range []struct {
		name, mode string
		row        netip.Addr
		sandbox    *agent.Sandbox
		want       string
	}{
		{"awsvpc", agent.NetworkAWSVPC, v4, nil, `{"NetworkMode":"awsvpc","IPv4Addresses":["10.0.0.1"],"AttachmentIndex":0}`},
		{"IPv6", agent.NetworkAWSVPC, v6, nil, `{"NetworkMode":"awsvpc","IPv6Addresses":["fd00::1"],"AttachmentIndex":0}`},
		{"no address yet", agent.NetworkAWSVPC, netip.Addr{}, nil, `{"NetworkMode":"awsvpc","AttachmentIndex":0}`},
		{"bridge", agent.NetworkBridge, v4, nil, `{"NetworkMode":"bridge","IPv4Addresses":["10.0.0.1"]}`},
		{"none", agent.NetworkNone, v4, nil, `{"NetworkMode":"none"}`},
		{"sandbox before row", agent.NetworkBridge, v4, &agent.Sandbox{Address: v6},
			`{"NetworkMode":"bridge","IPv6Addresses":["fd00::1"]}`},
	} {
		v := &view{
			task: &task.Task{Observed: task.Observed{Address: tc.row}}, sandbox: tc.sandbox,
			def: &task.Definition{NetworkMode: tc.mode},
		}
		if got := show(t, v.network()); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

// TestStatus checks that the sandbox is preferred to the row, and that the row still describes an ended task.
func TestStatus(t *testing.T) {
	code := 3
	row := &task.Task{Observed: task.Observed{Containers: []task.Container{
		{Name: "app", RuntimeID: "row", ExitCode: &code, Health: task.HealthUnhealthy},
	}}}
	started := agent.ContainerStatus{Name: "app", RuntimeID: "sandbox", StartedAt: time.Unix(1, 0),
		Health: agent.HealthHealthy}
	for _, tc := range []struct {
		name, container string
		sandbox         *agent.Sandbox
		want            agent.ContainerStatus
	}{
		{"sandbox", "app", &agent.Sandbox{Containers: []agent.ContainerStatus{started}}, started},
		{"row", "app", nil, agent.ContainerStatus{Name: "app", RuntimeID: "row", ExitCode: &code,
			Health: agent.HealthUnhealthy}},
		{"unknown container", "log", nil, agent.ContainerStatus{Name: "log"}},
	} {
		v := &view{task: row, sandbox: tc.sandbox}
		if got := v.status(tc.container); fmt.Sprint(got) != fmt.Sprint(tc.want) {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
}

func TestStatuses(t *testing.T) {
	at := time.Unix(1, 0)
	for _, tc := range []struct {
		status agent.ContainerStatus
		want   string
	}{
		{agent.ContainerStatus{}, "CREATED"},
		{agent.ContainerStatus{StartedAt: at}, "RUNNING"},
		{agent.ContainerStatus{StartedAt: at, FinishedAt: at}, "STOPPED"},
		{agent.ContainerStatus{FinishedAt: at}, "STOPPED"}, // never started
	} {
		if got := containerStatus(tc.status); got != tc.want {
			t.Errorf("containerStatus(%+v) = %s, want %s", tc.status, got, tc.want)
		}
	}
	for state, want := range map[task.State]string{
		task.Pending: "RUNNING", task.Running: "RUNNING", task.Stopping: "RUNNING", task.Stopped: "STOPPED",
	} {
		if got := knownStatus(state); got != want {
			t.Errorf("knownStatus(%v) = %s, want %s", state, got, want)
		}
	}
}
