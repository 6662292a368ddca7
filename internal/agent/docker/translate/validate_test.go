package translate

import (
	"strings"
	"testing"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/engineopts"
)

// validateTests change one thing of a valid task. The error must name the member of the task definition; an empty want
// expects no error.
var validateTests = []struct {
	want   string
	change func(*agent.TaskSpec, *agent.ContainerSpec)
}{
	{"", func(*agent.TaskSpec, *agent.ContainerSpec) {}},
	{"the task id", func(s *agent.TaskSpec, _ *agent.ContainerSpec) { s.ID = "../up" }},
	{"networkMode", func(s *agent.TaskSpec, _ *agent.ContainerSpec) { s.NetworkMode = "overlay" }},
	{"resolver", func(s *agent.TaskSpec, _ *agent.ContainerSpec) { s.Resolver = &agent.Resolver{} }},
	{"pidMode", func(s *agent.TaskSpec, _ *agent.ContainerSpec) { s.Options.PID = "none" }},
	{"ipcMode", func(s *agent.TaskSpec, _ *agent.ContainerSpec) { s.Options.IPC = "shareable" }},
	{"volumes", func(s *agent.TaskSpec, _ *agent.ContainerSpec) { s.Options.Volumes[0].HostPath = "relative" }},
	{"volumes", func(s *agent.TaskSpec, _ *agent.ContainerSpec) { s.Options.Volumes[0].HostPath = "/a:/b" }},
	{"the name", func(_ *agent.TaskSpec, c *agent.ContainerSpec) { c.Name = "a b" }},
	{"another container has the same name", func(_ *agent.TaskSpec, c *agent.ContainerSpec) { c.Name = "b" }},
	{"image", func(_ *agent.TaskSpec, c *agent.ContainerSpec) { c.Image = "" }},
	{"portMappings", func(s *agent.TaskSpec, c *agent.ContainerSpec) {
		s.NetworkMode, c.Ports = "none", []agent.Port{{Container: 80}}
	}},
	{"portMappings", func(_ *agent.TaskSpec, c *agent.ContainerSpec) {
		c.Options.DisableNetworking, c.Ports = true, []agent.Port{{Container: 80}}
	}},
	{"portMappings", func(_ *agent.TaskSpec, c *agent.ContainerSpec) { c.Ports = []agent.Port{{Container: 0}} }},
	{"portMappings", func(_ *agent.TaskSpec, c *agent.ContainerSpec) {
		c.Ports = []agent.Port{{Container: 1, Protocol: "sctp"}}
	}},
	{"ulimits", func(_ *agent.TaskSpec, c *agent.ContainerSpec) { c.Ulimits = []agent.Ulimit{{Name: "files"}} }},
	{"healthCheck", func(_ *agent.TaskSpec, c *agent.ContainerSpec) { c.HealthCheck = &agent.HealthCheck{} }},
	{"healthCheck", func(_ *agent.TaskSpec, c *agent.ContainerSpec) {
		c.HealthCheck = &agent.HealthCheck{Command: []string{"CMD"}}
	}},
	{"mountPoints", func(_ *agent.TaskSpec, c *agent.ContainerSpec) {
		c.Options.Mounts = []engineopts.Mount{{Volume: "x", Path: "/x"}}
	}},
	{"mountPoints", func(_ *agent.TaskSpec, c *agent.ContainerSpec) {
		c.Options.Mounts = []engineopts.Mount{{Volume: "v", Path: "x"}}
	}},
	{"", func(_ *agent.TaskSpec, c *agent.ContainerSpec) {
		c.Options.Mounts = []engineopts.Mount{{Volume: "v", Path: "/x"}}
	}},
	{"volumesFrom", func(_ *agent.TaskSpec, c *agent.ContainerSpec) {
		c.Options.VolumesFrom = []engineopts.VolumesFrom{{Container: "x"}}
	}},
	{"volumesFrom", func(_ *agent.TaskSpec, c *agent.ContainerSpec) {
		c.Options.VolumesFrom = []engineopts.VolumesFrom{{Container: "a"}}
	}},
	{"tmpfs", func(_ *agent.TaskSpec, c *agent.ContainerSpec) { c.Options.Tmpfs = map[string]string{"tmp": ""} }},
	{"devices", func(_ *agent.TaskSpec, c *agent.ContainerSpec) {
		c.Options.Devices = []engineopts.Device{{Host: "fuse"}}
	}},
	{"hostname", func(s *agent.TaskSpec, c *agent.ContainerSpec) {
		s.NetworkMode, c.Options.Hostname = "awsvpc", "h"
	}},
	{"dnsServers", func(s *agent.TaskSpec, c *agent.ContainerSpec) {
		s.NetworkMode, c.Options.DNS = "awsvpc", []string{"10.0.0.1"}
	}},
	{"links", func(s *agent.TaskSpec, c *agent.ContainerSpec) {
		s.NetworkMode, c.Options.Links = "host", []string{"b"}
	}},
	{"links", func(_ *agent.TaskSpec, c *agent.ContainerSpec) { c.Options.Links = []string{"x:b"} }},
	{"", func(_ *agent.TaskSpec, c *agent.ContainerSpec) { c.Options.Links = []string{"b:x"} }},
	{"dnsServers", func(_ *agent.TaskSpec, c *agent.ContainerSpec) { c.Options.DNS = []string{"ns.example"} }},
	{"extraHosts", func(_ *agent.TaskSpec, c *agent.ContainerSpec) { c.Options.ExtraHosts = []string{"db"} }},
	{"", func(_ *agent.TaskSpec, c *agent.ContainerSpec) { c.Options.ExtraHosts = []string{"db:fd00::1"} }},
	{"systemControls", func(s *agent.TaskSpec, c *agent.ContainerSpec) {
		s.NetworkMode, c.Options.Sysctls = "host", map[string]string{"net.core.somaxconn": "1"}
	}},
	{"systemControls", func(s *agent.TaskSpec, c *agent.ContainerSpec) {
		s.Options.IPC, c.Options.Sysctls = "host", map[string]string{"kernel.shmmax": "1"}
	}},
	{"maxSwap", func(_ *agent.TaskSpec, c *agent.ContainerSpec) { c.Options.MaxSwapMiB = ptr(1) }},
	{"", func(s *agent.TaskSpec, c *agent.ContainerSpec) { s.Options.Memory, c.Options.MaxSwapMiB = 64, ptr(1) }},
	{"swappiness", func(_ *agent.TaskSpec, c *agent.ContainerSpec) { c.Options.Swappiness = ptr(101) }},
}

func TestValidate(t *testing.T) {
	for _, tc := range validateTests {
		spec := &agent.TaskSpec{
			ID: "t", Options: engineopts.Task{Volumes: []engineopts.Volume{{Name: "v"}}},
			Containers: []agent.ContainerSpec{{Name: "b", Image: "i"}, {Name: "a", Image: "i"}},
		}
		tc.change(spec, &spec.Containers[1])
		switch err := Validate(spec); {
		case tc.want == "" && err != nil:
			t.Errorf("valid spec %+v: %v", spec, err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%+v: %v, want an error that names %s", spec, err, tc.want)
		}
	}
}

func ptr(n int) *int { return &n }
