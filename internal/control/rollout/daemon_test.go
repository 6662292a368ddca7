package rollout

import (
	"strings"
	"testing"

	"github.com/bakingclouds/rollcall/internal/task"
)

// parseNodes parses names of nodes. A node in parentheses is unreachable.
func parseNodes(notation string) Nodes {
	nodes := Nodes{}
	for _, name := range strings.Fields(notation) {
		nodes[strings.Trim(name, "()")] = !strings.HasPrefix(name, "(")
	}
	return nodes
}

// parseTasksOnNodes parses words of the form LETTER:NODE: a task in the notation of parseTasks, and its node.
func parseTasksOnNodes(notation string) (ts []*task.Task) {
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
		{"pending", "a b", 0, "r:a p:b", ""},
		{"a stopping task occupies its node", "a b", 0, "r:a s:b", ""},
		{"task on a node that is not listed", "a", 0, "r:a r:b", "stop r1, completed"},
		{"protected task on a node that is not listed", "a", 0, "r:a k:b", "completed, protected"},
		{"unreachable nodes keep their tasks and get none", "a (b) (c)", 0, "r:a r:b", "completed"},
		{"two tasks on a node: the older stays", "a", 0, "n:a r:a", "stop n0, completed"},
		{"no nodes", "", 0, "", "completed"},

		{"update with minimum 0 stops all", "a b c", 0, "R:a R:b R:c", "stop R2, stop R1, stop R0"},
		{"update waits until the old task has stopped", "a b", 0, "S:a r:b", ""},
		{"update with minimum 50 keeps half", "a b c d", 50, "R:a R:b R:c R:d", "stop R3, stop R2"},
		{"update with minimum 100 is blocked", "a b", 100, "R:a R:b", "blocked"},
		{"update waits for pending tasks", "a b c d", 50, "R:a R:b p:c p:d", ""},
		{"update continues when the new tasks serve", "a b c d", 50, "R:a R:b r:c r:d", "stop R1, stop R0"},
		{"update stops a pending old task immediately", "a b", 100, "R:a P:b", "stop P1"},

		{"unhealthy task is stopped first", "a b", 0, "r:a u:b", "replace u1"},
		{"a failure delays the next start", "a b", 0, "r:a f:b", "failed 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			svc := service(0, tc.min, 100)
			svc.Daemon = true
			ch := Plan(svc, NewServiceTasks(parseTasksOnNodes(tc.tasks)...), parseNodes(tc.nodes), noon)
			if got := ch.String(); got != tc.want {
				t.Errorf("Plan(%q) on %q = %q, want %q", tc.tasks, tc.nodes, got, tc.want)
			}
			if want := parseNodes(tc.nodes).eligible(); ch.DesiredCount != want {
				t.Errorf("desired count %d, want %d", ch.DesiredCount, want)
			}
		})
	}
}

// TestFailedDaemon checks that a failed rollout starts nothing and keeps the tasks on listed nodes.
func TestFailedDaemon(t *testing.T) {
	svc := service(0, 0, 100)
	svc.Daemon, svc.Primary().Rollout = true, task.Failed
	got := Plan(svc, NewServiceTasks(parseTasksOnNodes("R:a x:b r:gone")...), parseNodes("a b c"), noon).String()
	if want := "stop r2"; got != want {
		t.Errorf("Plan = %q, want %q", got, want)
	}
}
