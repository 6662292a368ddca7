package speccheck

import (
	"strings"
	"testing"

	"github.com/bakingclouds/rollcall/internal/agent"
)

// TestCheck changes one thing of a valid spec. The error must contain want; an empty want expects no error.
func TestCheck(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*agent.TaskSpec)
		want   string
	}{
		{"valid", func(*agent.TaskSpec) {}, ""},
		{"longest task id", func(s *agent.TaskSpec) { s.ID = strings.Repeat("a", 128) }, ""},
		{"task id too long", func(s *agent.TaskSpec) { s.ID = strings.Repeat("a", 129) }, "the task id"},
		{"task id with a path", func(s *agent.TaskSpec) { s.ID = "../up" }, "the task id"},
		{"no task id", func(s *agent.TaskSpec) { s.ID = "" }, "the task id"},
		{"unknown network mode", func(s *agent.TaskSpec) { s.NetworkMode = "overlay" }, "networkMode"},
		{"no containers", func(s *agent.TaskSpec) { s.Containers = nil }, "no containers"},
		{"container name with a space", func(s *agent.TaskSpec) { s.Containers[1].Name = "a b" },
			`container "a b": the name`},
		{"container name too long", func(s *agent.TaskSpec) { s.Containers[1].Name = strings.Repeat("a", 256) },
			"the name"},
		{"same name twice", func(s *agent.TaskSpec) { s.Containers[1].Name = "web" },
			`container "web": another container`},
		{"port", func(s *agent.TaskSpec) { s.Containers[1].Ports = []agent.Port{{Container: 80, Protocol: "udp"}} },
			""},
		{"port 0", func(s *agent.TaskSpec) { s.Containers[1].Ports = []agent.Port{{Container: 0}} },
			`container "db": portMappings`},
		{"unknown protocol", func(s *agent.TaskSpec) {
			s.Containers[1].Ports = []agent.Port{{Container: 1, Protocol: "sctp"}}
		}, "portMappings: port 1/sctp"},
		{"port without a network", func(s *agent.TaskSpec) {
			s.NetworkMode, s.Containers[1].Ports = agent.NetworkNone, []agent.Port{{Container: 80}}
		}, "portMappings: containers in network mode none"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			spec := agent.TaskSpec{ID: "t", NetworkMode: agent.NetworkAWSVPC,
				Containers: []agent.ContainerSpec{{Name: "web"}, {Name: "db"}}}
			tc.change(&spec)
			err := Check(&spec)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("Check: %v; want %q", err, tc.want)
			}
		})
	}
}
