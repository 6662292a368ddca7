package translate

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
	"github.com/bakingclouds/rollcall/internal/engineopts"
)

// onWire is what the engine is sent.
func onWire(t *testing.T, o client.ContainerCreateOptions) string {
	t.Helper()
	text, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func bridgePlace() Placement {
	return Placement{
		Name: "ecs-f-1-web-1", Image: "sha256:1", Network: "rollcall-x", CPUs: 4, Pause: "pause1",
		Labels:  map[string]string{engineapi.LabelOwner: "x"},
		Address: netip.MustParseAddr("10.1.0.9"), Address6: netip.MustParseAddr("fd00::9"),
		Ports:      []agent.PortBinding{{Container: 80, Host: 61001, Protocol: "tcp"}, {Container: 80, Host: 61001, Protocol: "udp"}},
		ResolvConf: "/data/resolv.conf",
		Siblings:   map[string]string{"web": "ecs-f-1-web-1", "db": "ecs-f-1-db-1"},
		Addresses:  map[string][]netip.Addr{"db": {netip.MustParseAddr("10.1.0.8"), netip.MustParseAddr("fd00::8")}},
		Volumes:    map[string]string{"logs": "ecs-logs-1", "host": "/srv"},
		Env:        map[string]string{"ROLLCALL_ADDRESS": "10.1.0.9"},
	}
}

// TestEveryOptionArrives: whatever a definition asks for changes what the engine is asked for, but for what is not the
// engine's to do.
func TestEveryOptionArrives(t *testing.T) {
	one, some := 1, []string{"db:x"}
	asked := engineopts.Container{
		Mounts: []engineopts.Mount{{Volume: "logs", Path: "/l"}}, VolumesFrom: []engineopts.VolumesFrom{{Container: "db"}},
		ReadonlyRoot: true, Privileged: true, DisableNetworking: true, Interactive: true, TTY: true,
		Hostname: "h", DNS: []string{"192.0.2.1"}, DNSSearch: []string{"example.com"}, ExtraHosts: []string{"a:192.0.2.2"}, Links: some,
		Labels: map[string]string{"a": "b"}, SecurityOpt: []string{"no-new-privileges"}, Sysctls: map[string]string{"net.core.somaxconn": "9"},
		CapAdd: []string{"SYS_PTRACE"}, CapDrop: []string{"MKNOD"}, Devices: []engineopts.Device{{Host: "/dev/fuse"}}, Init: true, ShmMiB: 8,
		Tmpfs: map[string]string{"/t": "size=1m"}, MaxSwapMiB: &one, Swappiness: &one,
		LogDriver: "journald", LogOptions: map[string]string{"tag": "t"},
		Login: "arn", StartTimeout: time.Second, Restart: &engineopts.RestartPolicy{}, LogSecrets: map[string]string{"a": "b"},
	}
	elsewhere := []string{
		"Login", "LogSecrets", // the agent has looked them up
		"StartTimeout", // the agent's
		"Restart",      // ShouldRestart'
		"Swappiness",   // goes with MaxSwapMiB
	}
	create := func(o engineopts.Container) string {
		c := agent.ContainerSpec{Name: "web", Memory: 64, Options: o}
		return onWire(t, ContainerOptions(&agent.TaskSpec{}, &c, bridgePlace()))
	}
	plain := create(engineopts.Container{})
	all := reflect.ValueOf(asked)
	for i := range all.NumField() {
		name := all.Type().Field(i).Name
		if all.Field(i).IsZero() {
			t.Errorf("this test asks for no %s", name)
		}
		var o engineopts.Container
		reflect.ValueOf(&o).Elem().Field(i).Set(all.Field(i))
		if changed := create(o) != plain; changed == slices.Contains(elsewhere, name) {
			t.Errorf("%s: the engine is asked for something else: %v", name, changed)
		}
	}
}

// TestWholeContainer holds a definition with about everything against what the engine is asked for.
func TestWholeContainer(t *testing.T) {
	swap := 10
	spec := agent.TaskSpec{
		ID: "1", Env: map[string]string{"A": "task", "B": "task"}, Labels: map[string]string{LabelFamily: "f"},
		Hosts:   map[string]netip.Addr{"rollcall.internal": netip.MustParseAddr("10.1.0.1")},
		Options: engineopts.Task{CPU: 512, Memory: 512, PID: "task", IPC: "host"},
	}
	c := agent.ContainerSpec{
		Name: "web", EntryPoint: []string{"/e"}, Command: []string{"c"}, Env: map[string]string{"B": "own", "ROLLCALL_ADDRESS": "no"},
		User: "u:g", WorkingDirectory: "/w", CPU: 100, Memory: 64, Reservation: 32,
		Ulimits:     []agent.Ulimit{{Name: "nofile", Soft: 1, Hard: 2}},
		HealthCheck: &agent.HealthCheck{Command: []string{"CMD", "x"}, Interval: time.Second, Timeout: 2 * time.Second, Retries: 3, StartPeriod: 4 * time.Second},
		Options: engineopts.Container{
			Mounts:      []engineopts.Mount{{Volume: "logs", Path: "/logs", ReadOnly: true}, {Volume: "host", Path: "/srv"}},
			VolumesFrom: []engineopts.VolumesFrom{{Container: "db", ReadOnly: true}},
			Labels:      map[string]string{engineapi.LabelOwner: "somebody", "mine": "1"},
			MaxSwapMiB:  &swap, Links: []string{"db:database"}, ExtraHosts: []string{"a:192.0.2.2"},
		},
	}
	got := ContainerOptions(&spec, &c, bridgePlace())
	for _, tc := range []struct {
		what      string
		got, want any
	}{
		{"image, program", []any{got.Name, got.Config.Image, got.Config.Entrypoint, got.Config.Cmd, got.Config.User, got.Config.WorkingDir},
			[]any{"ecs-f-1-web-1", "sha256:1", []string{"/e"}, []string{"c"}, "u:g", "/w"}},
		{"environment", got.Config.Env, []string{"A=task", "B=own", "ROLLCALL_ADDRESS=10.1.0.9"}},
		{"labels", got.Config.Labels, map[string]string{engineapi.LabelOwner: "x", "mine": "1", LabelFamily: "f", "com.amazonaws.ecs.container-name": "web"}},
		{"check", []any{got.Config.Healthcheck.Test, got.Config.Healthcheck.Interval, got.Config.Healthcheck.Retries}, []any{[]string{"CMD", "x"}, time.Second, 3}},
		{"cpu and memory", []int64{got.HostConfig.CPUShares, got.HostConfig.NanoCPUs, got.HostConfig.Memory, got.HostConfig.MemoryReservation, got.HostConfig.MemorySwap},
			[]int64{100, 5e8, 64 * mib, 32 * mib, 74 * mib}},
		{"namespaces", []string{string(got.HostConfig.PidMode), string(got.HostConfig.IpcMode), string(got.HostConfig.NetworkMode)}, []string{"container:pause1", "host", "rollcall-x"}},
		{"volumes from", got.HostConfig.VolumesFrom, []string{"ecs-f-1-db-1:ro"}},
		{"hosts, links among them", got.HostConfig.ExtraHosts, []string{"rollcall.internal:10.1.0.1", "a:192.0.2.2", "database:10.1.0.8", "db:10.1.0.8", "database:fd00::8", "db:fd00::8"}},
		{"mounts", []any{len(got.HostConfig.Mounts), got.HostConfig.Mounts[0].Target}, []any{1, "/etc/resolv.conf"}},
		{"volumes", got.HostConfig.Binds, []string{"ecs-logs-1:/logs:ro", "/srv:/srv"}},
		{"ports", len(got.HostConfig.PortBindings), 2},
		{"log", got.HostConfig.LogConfig.Type, "json-file"},
	} {
		if diff := cmp.Diff(tc.want, tc.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.what, diff)
		}
	}
}

// TestSharedNetwork: a container that shares the pause container's network says nothing of a network of its own, which the
// engine would refuse; the pause container says it.
func TestSharedNetwork(t *testing.T) {
	at := bridgePlace()
	at.Share, at.Network, at.Address, at.Address6, at.Ports = "pause1", "", netip.Addr{}, netip.Addr{}, nil
	spec := agent.TaskSpec{
		NetworkMode: agent.NetworkAWSVPC, Hosts: map[string]netip.Addr{"x": netip.MustParseAddr("10.1.0.1")},
		Containers: []agent.ContainerSpec{{Name: "web", Options: engineopts.Container{Sysctls: map[string]string{"net.core.somaxconn": "9", "kernel.msgmax": "1"}}}},
	}
	got := ContainerOptions(&spec, &spec.Containers[0], at)
	if h := got.HostConfig; h.NetworkMode != "container:pause1" || len(h.ExtraHosts) > 0 || got.NetworkingConfig != nil || got.Config.Hostname != "" {
		t.Errorf("it asks for a network: %s", onWire(t, got))
	}
	if diff := cmp.Diff(map[string]string{"kernel.msgmax": "1"}, got.HostConfig.Sysctls); diff != "" {
		t.Errorf("its sysctls (-want +got):\n%s", diff)
	}
	pause := PauseOptions(&spec, bridgePlace())
	if diff := cmp.Diff(map[string]string{"net.core.somaxconn": "9"}, pause.HostConfig.Sysctls); diff != "" {
		t.Errorf("the pause container's sysctls (-want +got):\n%s", diff)
	}
	if !slices.Equal(pause.HostConfig.ExtraHosts, []string{"x:10.1.0.1"}) || pause.NetworkingConfig == nil {
		t.Errorf("the pause container: %s", onWire(t, pause))
	}
}

func TestRestarts(t *testing.T) {
	at := time.Unix(1000, 0)
	p := &engineopts.RestartPolicy{Ignored: []int{0, 7}, Period: time.Minute}
	for _, tc := range []struct {
		policy *engineopts.RestartPolicy
		code   int
		ran    time.Duration
		want   bool
	}{
		{nil, 1, time.Hour, false},
		{p, 1, time.Minute, true},
		{p, 1, time.Minute - 1, false},
		{p, 7, time.Hour, false},
		{p, 137, time.Hour, true},
		{&engineopts.RestartPolicy{}, 1, -time.Millisecond, true},
	} {
		if got := ShouldRestart(tc.policy, tc.code, at, at.Add(tc.ran)); got != tc.want {
			t.Errorf("%+v after %v with %d: %v", tc.policy, tc.ran, tc.code, got)
		}
	}
}

// TestResources: what the engine bounds a container by, and its share.
func TestResources(t *testing.T) {
	swap, ready := 0, 10
	for _, tc := range []struct {
		name string
		task engineopts.Task
		c    agent.ContainerSpec
		more []agent.ContainerSpec
		want container.Resources
	}{
		{name: "nothing stated", want: container.Resources{CPUShares: 2}},
		{name: "the task's", task: engineopts.Task{CPU: 256, Memory: 512}, want: container.Resources{CPUShares: 256, NanoCPUs: 25e7, Memory: 512 * mib}},
		{name: "all that the machine has", task: engineopts.Task{CPU: 4096}, want: container.Resources{CPUShares: 4096}},
		{name: "its part of what is left", task: engineopts.Task{CPU: 1024}, more: []agent.ContainerSpec{{CPU: 512}, {}},
			want: container.Resources{CPUShares: 256, NanoCPUs: 1e9}},
		{name: "nothing is left", task: engineopts.Task{CPU: 1024}, more: []agent.ContainerSpec{{CPU: 2048}}, want: container.Resources{CPUShares: 2, NanoCPUs: 1e9}},
		{name: "more than Linux counts", c: agent.ContainerSpec{CPU: 1 << 20}, want: container.Resources{CPUShares: 262144}},
		{name: "a reservation beyond the task's memory", task: engineopts.Task{Memory: 64}, c: agent.ContainerSpec{Reservation: 128},
			want: container.Resources{CPUShares: 2, Memory: 64 * mib, MemoryReservation: 64 * mib}},
		{name: "a reservation alone", c: agent.ContainerSpec{Reservation: 128}, want: container.Resources{CPUShares: 2, MemoryReservation: 128 * mib}},
		{name: "no swap", c: agent.ContainerSpec{Memory: 64, Options: engineopts.Container{MaxSwapMiB: &swap, Swappiness: &ready}},
			want: container.Resources{CPUShares: 2, Memory: 64 * mib, MemorySwap: 64 * mib, MemorySwappiness: func() *int64 { n := int64(10); return &n }()}},
		{name: "swappiness without maxSwap", c: agent.ContainerSpec{Memory: 64, Options: engineopts.Container{Swappiness: &ready}},
			want: container.Resources{CPUShares: 2, Memory: 64 * mib}},
	} {
		spec := agent.TaskSpec{Options: tc.task, Containers: append([]agent.ContainerSpec{tc.c}, tc.more...)}
		if diff := cmp.Diff(tc.want, resources(&spec, &tc.c, Placement{CPUs: 4})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

// TestLogConfig: the engine's own files are bounded, unless the definition bounds them.
func TestLogConfig(t *testing.T) {
	for _, tc := range []struct {
		driver        string
		options, want map[string]string
	}{
		{"", nil, map[string]string{"max-size": "10m", "max-file": "2"}},
		{"json-file", map[string]string{"labels": "a", "max-file": "5"}, map[string]string{"labels": "a", "max-size": "10m", "max-file": "5"}},
		{"json-file", map[string]string{"max-size": "1g"}, map[string]string{"max-size": "1g"}},
		{"journald", map[string]string{"tag": "a"}, map[string]string{"tag": "a"}},
	} {
		c := agent.ContainerSpec{Options: engineopts.Container{LogDriver: tc.driver, LogOptions: tc.options}}
		if diff := cmp.Diff(tc.want, logConfig(&c).Config); diff != "" {
			t.Errorf("%s %v (-want +got):\n%s", tc.driver, tc.options, diff)
		}
	}
}

// TestDisabledNetwork: a container without a network has none, whatever the task has, and asks the engine for nothing of one.
func TestDisabledNetwork(t *testing.T) {
	spec := agent.TaskSpec{NetworkMode: agent.NetworkAWSVPC, Containers: []agent.ContainerSpec{{Name: "web", Options: engineopts.Container{DisableNetworking: true}}}}
	if !NeedsPause(&spec) {
		t.Error("nobody holds the task's address")
	}
	at := bridgePlace()
	at.Share = "pause1"
	got := ContainerOptions(&spec, &spec.Containers[0], at)
	if h := got.HostConfig; h.NetworkMode != "none" || !got.Config.NetworkDisabled || len(h.Mounts)+len(h.ExtraHosts)+len(h.PortBindings) > 0 || got.NetworkingConfig != nil {
		t.Errorf("it asks for a network: %s", onWire(t, got))
	}
}
