package translate

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
	"github.com/bakingclouds/rollcall/internal/engineopts"
)

// toJSON returns the request that the engine receives.
func toJSON(t *testing.T, o client.ContainerCreateOptions) string {
	t.Helper()
	text, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// bridgeAssignment returns the assignment of a container on a bridge network.
func bridgeAssignment() Assignment {
	return Assignment{
		Name: "ecs-f-1-web-1", Image: "sha256:1", Network: "rollcall-x", CPUs: 4, Pause: "pause1",
		Labels:  map[string]string{engineapi.LabelOwner: "x"},
		Address: netip.MustParseAddr("10.1.0.9"), Address6: netip.MustParseAddr("fd00::9"),
		Ports: []agent.PortBinding{
			{Container: 80, Host: 61001, Protocol: "tcp"}, {Container: 80, Host: 61001, Protocol: "udp"},
		},
		ResolvConf: "/data/resolv.conf",
		Siblings:   map[string]string{"web": "ecs-f-1-web-1", "db": "ecs-f-1-db-1"},
		Addresses:  map[string][]netip.Addr{"db": {netip.MustParseAddr("10.1.0.8"), netip.MustParseAddr("fd00::8")}},
		Volumes:    map[string]string{"logs": "ecs-logs-1", "host": "/srv"},
		Env:        map[string]string{"ROLLCALL_ADDRESS": "10.1.0.9"},
	}
}

// TestEveryOptionCounts sets each option of a definition by itself. It must change the request, unless the option is
// not for the engine.
func TestEveryOptionCounts(t *testing.T) {
	one := 1
	set := engineopts.Container{
		Mounts:       []engineopts.Mount{{Volume: "logs", Path: "/l"}},
		VolumesFrom:  []engineopts.VolumesFrom{{Container: "db"}},
		ReadonlyRoot: true, Privileged: true, DisableNetworking: true, Interactive: true, TTY: true,
		Hostname: "h", DNS: []string{"192.0.2.1"}, DNSSearch: []string{"example.com"},
		ExtraHosts: []string{"a:192.0.2.2"},
		Links:      []string{"db:x"}, Labels: map[string]string{"a": "b"}, SecurityOpt: []string{"no-new-privileges"},
		Sysctls: map[string]string{"net.core.somaxconn": "9"},
		CapAdd:  []string{"SYS_PTRACE"}, CapDrop: []string{"MKNOD"}, Devices: []engineopts.Device{{Host: "/dev/fuse"}},
		Init: true, ShmMiB: 8, Tmpfs: map[string]string{"/t": "size=1m"}, MaxSwapMiB: &one, Swappiness: &one,
		LogDriver: "journald", LogOptions: map[string]string{"tag": "t"},
		Login: "arn", StartTimeout: time.Second, Restart: &engineopts.RestartPolicy{},
		LogSecrets: map[string]string{"a": "b"},
	}
	notForEngine := []string{
		"Login", "LogSecrets", "StartTimeout", // for the agent
		"Restart",    // for ShouldRestart
		"Swappiness", // needs MaxSwapMiB
	}
	request := func(o engineopts.Container) string {
		c := agent.ContainerSpec{Name: "web", Memory: 64, Options: o}
		return toJSON(t, ContainerOptions(&agent.TaskSpec{}, &c, bridgeAssignment()))
	}
	plain := request(engineopts.Container{})
	all := reflect.ValueOf(set)
	for i := range all.NumField() {
		name := all.Type().Field(i).Name
		if all.Field(i).IsZero() {
			t.Errorf("this test does not set the option %s", name)
		}
		var o engineopts.Container
		reflect.ValueOf(&o).Elem().Field(i).Set(all.Field(i))
		if changed := request(o) != plain; changed == slices.Contains(notForEngine, name) {
			t.Errorf("option %s changes the request: %v, want %v", name, changed, !changed)
		}
	}
}

// TestContainerOptions compares the request for a definition that uses most options.
func TestContainerOptions(t *testing.T) {
	swap := 10
	spec := agent.TaskSpec{
		ID: "1", Env: map[string]string{"A": "task", "B": "task"}, Labels: map[string]string{LabelFamily: "f"},
		Hosts:   map[string]netip.Addr{"rollcall.internal": netip.MustParseAddr("10.1.0.1")},
		Options: engineopts.Task{CPU: 512, Memory: 512, PID: "task", IPC: "host"},
	}
	c := agent.ContainerSpec{
		Name: "web", EntryPoint: []string{"/e"}, Command: []string{"c"},
		Env:  map[string]string{"B": "own", "ROLLCALL_ADDRESS": "no"},
		User: "u:g", WorkingDirectory: "/w", CPU: 100, Memory: 64, Reservation: 32,
		Ulimits: []agent.Ulimit{{Name: "nofile", Soft: 1, Hard: 2}},
		HealthCheck: &agent.HealthCheck{
			Command: []string{"CMD", "x"}, Interval: time.Second, Timeout: 2 * time.Second, Retries: 3,
			StartPeriod: 4 * time.Second,
		},
		Options: engineopts.Container{
			Mounts: []engineopts.Mount{{Volume: "logs", Path: "/logs", ReadOnly: true},
				{Volume: "host", Path: "/srv"}},
			VolumesFrom: []engineopts.VolumesFrom{{Container: "db", ReadOnly: true}},
			Labels:      map[string]string{engineapi.LabelOwner: "forged", "mine": "1"},
			MaxSwapMiB:  &swap, Links: []string{"db:database"}, ExtraHosts: []string{"a:192.0.2.2"},
		},
	}
	got := ContainerOptions(&spec, &c, bridgeAssignment())
	config, host := got.Config, got.HostConfig
	for _, tc := range []struct {
		name      string
		got, want any
	}{
		{"image and program",
			[]any{got.Name, config.Image, config.Entrypoint, config.Cmd, config.User, config.WorkingDir},
			[]any{"ecs-f-1-web-1", "sha256:1", []string{"/e"}, []string{"c"}, "u:g", "/w"}},
		{"environment", config.Env, []string{"A=task", "B=own", "ROLLCALL_ADDRESS=10.1.0.9"}},
		{"labels", config.Labels, map[string]string{
			engineapi.LabelOwner: "x", "mine": "1", LabelFamily: "f", "com.amazonaws.ecs.container-name": "web",
		}},
		{"health check",
			[]any{config.Healthcheck.Test, config.Healthcheck.Interval, config.Healthcheck.Retries},
			[]any{[]string{"CMD", "x"}, time.Second, 3}},
		{"cpu and memory",
			[]int64{host.CPUShares, host.NanoCPUs, host.Memory, host.MemoryReservation, host.MemorySwap},
			[]int64{100, 5e8, 64 * mib, 32 * mib, 74 * mib}},
		{"namespaces",
			[]string{string(host.PidMode), string(host.IpcMode), string(host.NetworkMode)},
			[]string{"container:pause1", "host", "rollcall-x"}},
		{"volumes from", host.VolumesFrom, []string{"ecs-f-1-db-1:ro"}},
		{"hosts, with links", host.ExtraHosts, []string{
			"rollcall.internal:10.1.0.1", "a:192.0.2.2", "database:10.1.0.8", "db:10.1.0.8", "database:fd00::8",
			"db:fd00::8",
		}},
		{"mounts", []any{len(host.Mounts), host.Mounts[0].Target}, []any{1, "/etc/resolv.conf"}},
		{"volumes", host.Binds, []string{"ecs-logs-1:/logs:ro", "/srv:/srv"}},
		{"ports", len(host.PortBindings), 2},
		{"log driver", host.LogConfig.Type, "json-file"},
	} {
		if diff := cmp.Diff(tc.want, tc.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

// TestSharedNetwork covers a container that shares the pause container's network. The engine rejects network options on
// such a container, so the pause container has them.
func TestSharedNetwork(t *testing.T) {
	at := bridgeAssignment()
	at.Share, at.Network, at.Address, at.Address6, at.Ports = "pause1", "", netip.Addr{}, netip.Addr{}, nil
	sysctls := map[string]string{"net.core.somaxconn": "9", "kernel.msgmax": "1"}
	spec := agent.TaskSpec{
		NetworkMode: agent.NetworkAWSVPC, Hosts: map[string]netip.Addr{"x": netip.MustParseAddr("10.1.0.1")},
		Containers: []agent.ContainerSpec{{Name: "web", Options: engineopts.Container{Sysctls: sysctls}}},
	}
	got := ContainerOptions(&spec, &spec.Containers[0], at)
	h := got.HostConfig
	if h.NetworkMode != "container:pause1" || len(h.ExtraHosts) > 0 || got.NetworkingConfig != nil ||
		got.Config.Hostname != "" {
		t.Errorf("the container has network options: %s", toJSON(t, got))
	}
	if diff := cmp.Diff(map[string]string{"kernel.msgmax": "1"}, h.Sysctls); diff != "" {
		t.Errorf("sysctls of the container (-want +got):\n%s", diff)
	}
	pause := PauseOptions(&spec, bridgeAssignment())
	if diff := cmp.Diff(map[string]string{"net.core.somaxconn": "9"}, pause.HostConfig.Sysctls); diff != "" {
		t.Errorf("sysctls of the pause container (-want +got):\n%s", diff)
	}
	if !slices.Equal(pause.HostConfig.ExtraHosts, []string{"x:10.1.0.1"}) || pause.NetworkingConfig == nil {
		t.Errorf("the pause container lacks network options: %s", toJSON(t, pause))
	}
}

// TestDisableNetworking covers a container without a network, in a task that has one.
func TestDisableNetworking(t *testing.T) {
	spec := agent.TaskSpec{
		NetworkMode: agent.NetworkAWSVPC,
		Containers:  []agent.ContainerSpec{{Name: "web", Options: engineopts.Container{DisableNetworking: true}}},
	}
	at := bridgeAssignment()
	at.Share = "pause1"
	got := ContainerOptions(&spec, &spec.Containers[0], at)
	h := got.HostConfig
	if h.NetworkMode != "none" || !got.Config.NetworkDisabled || got.NetworkingConfig != nil ||
		len(h.Mounts)+len(h.ExtraHosts)+len(h.PortBindings) > 0 {
		t.Errorf("the container has network options: %s", toJSON(t, got))
	}
}

// TestLogConfig checks that the engine's log files are limited, unless the definition limits them.
func TestLogConfig(t *testing.T) {
	type options = map[string]string
	for _, tc := range []struct {
		driver    string
		set, want options
	}{
		{"", nil, options{"max-size": "10m", "max-file": "2"}},
		{"json-file", options{"labels": "a", "max-file": "5"},
			options{"labels": "a", "max-size": "10m", "max-file": "5"}},
		{"json-file", options{"max-size": "1g"}, options{"max-size": "1g"}},
		{"journald", options{"tag": "a"}, options{"tag": "a"}},
	} {
		c := agent.ContainerSpec{Options: engineopts.Container{LogDriver: tc.driver, LogOptions: tc.set}}
		if diff := cmp.Diff(tc.want, logConfig(&c).Config); diff != "" {
			t.Errorf("driver %q, options %v (-want +got):\n%s", tc.driver, tc.set, diff)
		}
	}
}
