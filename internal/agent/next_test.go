package agent

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/task"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// definition returns a definition with a database that an app depends on, and a helper that is not essential.
func definition() *task.Definition {
	check := &task.HealthCheck{Command: []string{"CMD", "true"}}
	return &task.Definition{Containers: []task.ContainerDefinition{
		{Name: "db", Essential: true, HealthCheck: check},
		{Name: "app", Essential: true, DependsOn: []task.Dependency{{Container: "db", Condition: "HEALTHY"}}},
		{Name: "helper"},
	}}
}

// parseSandbox parses one letter for each container, in the definition's order: - created, r running, h running and
// healthy, u running and unhealthy, e ended with exit code 1, 0 ended with exit code 0, ! could not be started.
func parseSandbox(notation string) *Sandbox {
	if notation == "" {
		return nil
	}
	sandbox := &Sandbox{TaskID: "t", Address: netip.MustParseAddr("127.64.0.1")}
	for i, letter := range notation {
		c := ContainerStatus{Name: definition().Containers[i].Name, Health: HealthUnknown}
		code := 0
		switch letter {
		case 'r', 'h', 'u':
			c.StartedAt = noon
		case 'e':
			c.StartedAt, c.FinishedAt = noon, noon
			code = 1
			c.ExitCode = &code
		case '0':
			c.StartedAt, c.FinishedAt, c.ExitCode = noon, noon, &code
		case '!':
			c.FinishedAt, c.Reason = noon, "CannotStartContainerError: no such program"
		}
		switch letter {
		case 'h':
			c.Health = HealthHealthy
		case 'u':
			c.Health = HealthUnhealthy
		}
		sandbox.Containers = append(sandbox.Containers, c)
	}
	return sandbox
}

// String returns a step in the notation of the tables: the state, the action, and why it stops the task.
func (s Step) String() string {
	parts := []string{s.Observed.State.String()}
	if s.Action != Nothing {
		name := [...]string{"", "create", "start", "stop", "remove"}[s.Action]
		parts = append(parts, strings.TrimSpace(name+" "+strings.Join(s.Containers, " ")))
	}
	if s.StopCode != "" {
		parts = append(parts, fmt.Sprintf("%s: %s", s.StopCode, s.StopReason))
	}
	if s.Observed.Health != task.HealthUnknown {
		parts = append(parts, string(s.Observed.Health))
	}
	return strings.Join(parts, ", ")
}

func TestNext(t *testing.T) {
	const (
		gone = "EssentialContainerExited: The task's containers are gone: " +
			"something else removed them, or the host was restarted"
		ended = "EssentialContainerExited: Essential container in task exited"
	)
	stop := func(t *task.Task) { t.Desired = task.DesiredStopped }
	registered := func(r task.Registration) func(*task.Task) {
		return func(t *task.Task) {
			t.Registries, t.Registration = []task.Registry{{ServiceID: "srv-1"}}, r
		}
	}
	for _, tc := range []struct {
		name    string
		state   task.State
		sandbox string
		with    []func(*task.Task)
		want    string
	}{
		{"placed", task.Provisioning, "", nil, "PENDING, create"},
		{"created", task.Pending, "---", nil, "PENDING, start db helper"},
		{"app waits for the database's health", task.Pending, "r-r", nil, "PENDING"},
		{"database healthy", task.Pending, "h-r", nil, "PENDING, start app, HEALTHY"},
		{"all containers run", task.Pending, "hrr", nil, "RUNNING, HEALTHY"},
		{"non-essential container ended", task.Running, "hr0", nil, "RUNNING, HEALTHY"},
		{"became unhealthy", task.Running, "urr", nil, "RUNNING, UNHEALTHY"},
		{"waits for registration", task.Pending, "hrr", []func(*task.Task){registered(task.Unregistered)},
			"ACTIVATING, HEALTHY"},
		{"registered", task.Activating, "hrr", []func(*task.Task){registered(task.Registered)}, "RUNNING, HEALTHY"},

		{"essential container ended", task.Running, "her", nil, "RUNNING, " + ended + ", HEALTHY"},
		{"program does not exist", task.Pending, "!--", nil,
			"PENDING, TaskFailedToStart: CannotStartContainerError: no such program"},
		{"sandbox removed", task.Running, "", nil, "RUNNING, " + gone},

		{"stop waits for deregistration", task.Running, "hrr", []func(*task.Task){registered(task.Registered), stop},
			"DEACTIVATING, HEALTHY"},
		{"still draining", task.Deactivating, "hrr", []func(*task.Task){registered(task.Draining), stop},
			"DEACTIVATING, HEALTHY"},
		{"released, so dependants stop first", task.Deactivating, "hrr", []func(*task.Task){registered(task.Released), stop},
			"STOPPING, stop app helper, HEALTHY"},
		{"then their dependencies stop", task.Stopping, "h00", []func(*task.Task){registered(task.Released), stop},
			"STOPPING, stop db, HEALTHY"},
		{"all ended", task.Stopping, "000", []func(*task.Task){stop}, "DEPROVISIONING, remove"},
		{"removed", task.Deprovisioning, "", []func(*task.Task){stop}, "STOPPED"},
		{"stopped before creation", task.Provisioning, "", []func(*task.Task){stop}, "STOPPED"},
		{"stopped before registration", task.Pending, "r-r", []func(*task.Task){registered(task.Unregistered), stop},
			"DEACTIVATING"},
		{"sandbox left by a crash", task.Stopped, "000", []func(*task.Task){stop}, "STOPPED, remove"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			def := definition()
			row := &task.Task{
				ID: "t", Desired: task.DesiredRunning, Checked: def.Checked(),
				Observed: task.Observed{State: tc.state, Health: task.HealthUnknown},
			}
			for _, w := range tc.with {
				w(row)
			}
			before := *row
			if got := Next(row, def, parseSandbox(tc.sandbox), noon).String(); got != tc.want {
				t.Errorf("Next = %q\nwant   %q", got, tc.want)
			}
			if row.Observed.State != before.Observed.State || row.Desired != before.Desired {
				t.Error("Next changed its row")
			}
		})
	}
}

// TestHealthySince checks that HealthySince, which a rollout counts by, is the time at which a task became healthy, not
// the time of the last observation.
func TestHealthySince(t *testing.T) {
	def := definition()
	row := &task.Task{ID: "t", Desired: task.DesiredRunning, Checked: true, Observed: task.Observed{State: task.Pending}}
	row.Observed = Next(row, def, parseSandbox("hrr"), noon).Observed
	if s := row.Observed.HealthySince; s == nil || !s.Equal(noon) {
		t.Fatalf("HealthySince = %v, want noon", s)
	}
	row.Observed = Next(row, def, parseSandbox("hrr"), noon.Add(time.Hour)).Observed
	if s := row.Observed.HealthySince; s == nil || !s.Equal(noon) {
		t.Errorf("an hour later: HealthySince = %v, want noon", s)
	}
	row.Observed = Next(row, def, parseSandbox("urr"), noon.Add(time.Hour)).Observed
	if row.Observed.HealthySince != nil {
		t.Errorf("unhealthy: HealthySince = %v, want none", row.Observed.HealthySince)
	}
}

// TestStartTimeout checks that a container never starts if its dependency is not ready within its startTimeout, and
// that the task is rechecked at that time (ECS API Reference, "ContainerDefinition").
func TestStartTimeout(t *testing.T) {
	def := definition()
	def.Containers[0].Options.StartTimeout = 30 * time.Second
	row := &task.Task{ID: "t", Desired: task.DesiredRunning, Observed: task.Observed{State: task.Pending}}
	for _, tc := range []struct {
		sandbox string
		after   time.Duration
		recheck time.Duration
		fails   string
	}{
		{"rr-", 10 * time.Second, 20 * time.Second, ""},
		{"ur-", 29 * time.Second, time.Second, ""},
		{"hr-", time.Hour, 0, ""},
		{"r--", 30 * time.Second, 0, "TaskDependencyError: container app depends on db, " +
			"which was not HEALTHY within its startTimeout of 30s"},
		{"---", time.Hour, 0, ""}, // the timeout counts from the start of db
	} {
		sandbox := parseSandbox(tc.sandbox)
		sandbox.Containers[1] = ContainerStatus{Name: "app", Health: HealthUnknown}
		s := Next(row, def, sandbox, noon.Add(tc.after))
		if s.RecheckAfter != tc.recheck || s.StopReason != tc.fails {
			t.Errorf("%s after %v: recheck after %v, %q; want %v, %q", tc.sandbox, tc.after, s.RecheckAfter, s.StopReason,
				tc.recheck, tc.fails)
		}
	}
}
