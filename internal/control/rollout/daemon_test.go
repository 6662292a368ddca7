package rollout

import (
	"strings"
	"testing"

	"github.com/bakingclouds/rollcall/internal/task"
)

// parseNodes reads names of nodes; one in brackets cannot be reached.
func parseNodes(notation string) Nodes {
	nodes := Nodes{}
	for _, name := range strings.Fields(notation) {
		nodes[strings.Trim(name, "()")] = !strings.HasPrefix(name, "(")
	}
	return nodes
}

// parsePlaced reads tasks as parseTasks does, each with the node that it is on behind a colon.
func parsePlaced(notation string) (ts []*task.Task) {
	for i, word := range strings.Fields(notation) {
		letter, node, _ := strings.Cut(word, ":")
		t := parseTasks(strings.Repeat(" ", i) + letter)[i]
		if t.Observed.State < task.Running {
			t.OnlyNode = node
		} else {
			t.Node = node
		}
		ts = append(ts, t)
	}
	return ts
}

func TestDaemon(t *testing.T) {
	for _, tc := range []struct {
		name, nodes string
		min         int
		tasks, want string
	}{
		{"one on each node", "a b c", 0, "", "start on a b c"},
		{"a new node", "a b", 0, "r:a", "start on b"},
		{"covered", "a b", 0, "r:a r:b", "completed"},
		{"on its way", "a b", 0, "r:a p:b", ""},
		{"an ending one keeps its node", "a b", 0, "r:a s:b", ""},
		{"a node that is gone or drains", "a", 0, "r:a r:b", "stop r1, completed"},
		{"a protected task on one", "a", 0, "r:a k:b", "completed, protected"},
		{"a node that cannot be reached is left alone", "a (b) (c)", 0, "r:a r:b", "completed"},
		{"two on a node: the older stays", "a", 0, "n:a r:a", "stop n0, completed"},
		{"no node", "", 0, "", "completed"},

		{"update: all at once", "a b c", 0, "R:a R:b R:c", "stop R2, stop R1, stop R0"},
		{"update: the node is free before the new one comes", "a b", 0, "S:a r:b", ""},
		{"update: half stay", "a b c d", 50, "R:a R:b R:c R:d", "stop R3, stop R2"},
		{"update: none can go", "a b", 100, "R:a R:b", "blocked"},
		{"update: the new ones are waited for", "a b c d", 50, "R:a R:b p:c p:d", ""},
		{"update: and then the others go", "a b c d", 50, "R:a R:b r:c r:d", "stop R1, stop R0"},
		{"update: what does not serve goes at once", "a b", 100, "R:a P:b", "stop P1"},

		{"unhealthy: there is no room beside it", "a b", 0, "r:a u:b", "replace u1"},
		{"a failure delays the next", "a b", 0, "r:a f:b", "failed 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			svc := service(0, tc.min, 100)
			svc.Daemon = true
			ch := Plan(svc, NewServiceTasks(parsePlaced(tc.tasks)...), parseNodes(tc.nodes), noon)
			if got := ch.String(); got != tc.want {
				t.Errorf("Plan(%q) on %q = %q, want %q", tc.tasks, tc.nodes, got, tc.want)
			}
			if want := parseNodes(tc.nodes).eligible(); ch.Desired != want {
				t.Errorf("desired count %d, want %d", ch.Desired, want)
			}
		})
	}
}

// TestFailedDaemon: a rollout that has failed covers no further node, and leaves the old ones their tasks.
func TestFailedDaemon(t *testing.T) {
	svc := service(0, 0, 100)
	svc.Daemon, svc.Primary().Rollout = true, task.Failed
	if got := Plan(svc, NewServiceTasks(parsePlaced("R:a x:b r:gone")...), parseNodes("a b c"), noon).String(); got != "stop r2" {
		t.Errorf("plan %q", got)
	}
}
