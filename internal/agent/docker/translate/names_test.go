package translate

import (
	"strings"
	"testing"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/engineopts"
)

func TestNeedsPause(t *testing.T) {
	isolated := agent.ContainerSpec{Options: engineopts.Container{DisableNetworking: true}}
	one, two := []agent.ContainerSpec{{}}, []agent.ContainerSpec{{}, {}}
	for _, tc := range []struct {
		name string
		spec agent.TaskSpec
		want bool
	}{
		{"awsvpc, one container", agent.TaskSpec{NetworkMode: agent.NetworkAWSVPC, Containers: one}, false},
		{"awsvpc, two containers", agent.TaskSpec{NetworkMode: agent.NetworkAWSVPC, Containers: two}, true},
		{"awsvpc, one container without a network",
			agent.TaskSpec{NetworkMode: agent.NetworkAWSVPC, Containers: []agent.ContainerSpec{isolated}}, true},
		{"bridge, two containers", agent.TaskSpec{Containers: two}, false},
		{"bridge, one container without a network", agent.TaskSpec{Containers: []agent.ContainerSpec{isolated}}, false},
		{"shared pid namespace", agent.TaskSpec{Containers: two, Options: engineopts.Task{PID: engineopts.Shared}},
			true},
		{"shared IPC namespace", agent.TaskSpec{Containers: two, Options: engineopts.Task{IPC: engineopts.Shared}},
			true},
		{"shared pid namespace, one container",
			agent.TaskSpec{Containers: one, Options: engineopts.Task{PID: engineopts.Shared}}, false},
	} {
		if got := NeedsPause(&tc.spec); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("f", 100)
	spec := agent.TaskSpec{
		ID: "0123456789abcdef0123456789abcdef", Labels: map[string]string{LabelFamily: long, LabelRevision: "7"},
	}
	for _, tc := range []struct{ got, want string }{
		{ContainerName(&spec, "web"), "ecs-" + long[:60] + "-7-web-0123456789abcdef0123"},
		{ContainerName(&spec, PauseName), "ecs-" + long[:60] + "-7-pause-0123456789abcdef0123"},
		{VolumeSource(&spec, &engineopts.Volume{Name: "data"}), "ecs-data-0123456789abcdef0123"},
		{VolumeSource(&spec, &engineopts.Volume{Name: "data", Shared: true}), "data"},
		{VolumeSource(&spec, &engineopts.Volume{Name: "data", HostPath: "/srv"}), "/srv"},
	} {
		if tc.got != tc.want {
			t.Errorf("name is %s, want %s", tc.got, tc.want)
		}
	}
}
