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

// A definition with a database that an app waits for, and a helper that may end.
func definition() *task.Definition {
	check := &task.HealthCheck{Command: []string{"CMD", "true"}}
	return &task.Definition{Containers: []task.ContainerDefinition{
		{Name: "db", Essential: true, HealthCheck: check},
		{Name: "app", Essential: true, DependsOn: []task.Dependency{{Container: "db", Condition: "HEALTHY"}}},
		{Name: "helper"},
	}}
}

// sandbox reads one letter a container, in the definition's order: - created, r running, h running and
// healthy, u running and unhealthy, e ended with status 1, 0 ended well, ! could not be started.
func sandbox(notation string) *Sandbox {
	if notation == "" {
		return nil
	}
	box := &Sandbox{TaskID: "t", Address: netip.MustParseAddr("127.64.0.1")}
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
		box.Containers = append(box.Containers, c)
	}
	return box
}

// String is a step in the notation of the table: the state, the action, why it stops.
func (s Step) String() string {
	parts := []string{s.Observed.State.String()}
	if s.Do != Nothing {
		name := [...]string{"", "create", "start", "stop", "remove"}[s.Do]
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
		gone  = "EssentialContainerExited: The task's containers are gone: something else removed them, or the host was restarted"
		ended = "EssentialContainerExited: Essential container in task exited"
	)
	stop := func(t *task.Task) { t.Desired = task.DesiredStopped }
	registered := func(r task.Registration) func(*task.Task) {
		return func(t *task.Task) {
			t.Registries, t.Registration = []task.Registry{{ServiceID: "srv-1"}}, r
		}
	}
	for _, tc := range []struct {
		name  string
		state task.State
		box   string
		with  []func(*task.Task)
		want  string
	}{
		{"placed", task.Provisioning, "", nil, "PENDING, create"},
		{"created", task.Pending, "---", nil, "PENDING, start db helper"},
		{"app waits for the database's health", task.Pending, "r-r", nil, "PENDING"},
		{"database healthy", task.Pending, "h-r", nil, "PENDING, start app, HEALTHY"},
		{"all run", task.Pending, "hrr", nil, "RUNNING, HEALTHY"},
		{"a helper may end", task.Running, "hr0", nil, "RUNNING, HEALTHY"},
		{"health is lost", task.Running, "urr", nil, "RUNNING, UNHEALTHY"},
		{"waits to be registered", task.Pending, "hrr", []func(*task.Task){registered(task.Unregistered)}, "ACTIVATING, HEALTHY"},
		{"registered", task.Activating, "hrr", []func(*task.Task){registered(task.Registered)}, "RUNNING, HEALTHY"},

		{"an essential container ended", task.Running, "her", nil, "RUNNING, " + ended + ", HEALTHY"},
		{"a program that is not there", task.Pending, "!--", nil, "PENDING, TaskFailedToStart: CannotStartContainerError: no such program"},
		{"sandbox gone", task.Running, "", nil, "RUNNING, " + gone},

		{"stop waits for service discovery", task.Running, "hrr", []func(*task.Task){registered(task.Registered), stop}, "DEACTIVATING, HEALTHY"},
		{"still draining", task.Deactivating, "hrr", []func(*task.Task){registered(task.Draining), stop}, "DEACTIVATING, HEALTHY"},
		{"released: dependants first", task.Deactivating, "hrr", []func(*task.Task){registered(task.Released), stop}, "STOPPING, stop app helper, HEALTHY"},
		{"then what they depended on", task.Stopping, "h00", []func(*task.Task){registered(task.Released), stop}, "STOPPING, stop db, HEALTHY"},
		{"all ended", task.Stopping, "000", []func(*task.Task){stop}, "DEPROVISIONING, remove"},
		{"removed", task.Deprovisioning, "", []func(*task.Task){stop}, "STOPPED"},
		{"stopped before it was created", task.Provisioning, "", []func(*task.Task){stop}, "STOPPED"},
		{"never registered, but registration decides first", task.Pending, "r-r", []func(*task.Task){registered(task.Unregistered), stop}, "DEACTIVATING"},
		{"a crash left the sandbox", task.Stopped, "000", []func(*task.Task){stop}, "STOPPED, remove"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			def := definition()
			row := &task.Task{ID: "t", Desired: task.DesiredRunning, Checked: def.Checked(), Observed: task.Observed{State: tc.state, Health: task.HealthUnknown}}
			for _, w := range tc.with {
				w(row)
			}
			before := *row
			if got := Next(row, def, sandbox(tc.box), noon).String(); got != tc.want {
				t.Errorf("Next = %q\nwant   %q", got, tc.want)
			}
			if row.Observed.State != before.Observed.State || row.Desired != before.Desired {
				t.Error("Next changed the row it was given")
			}
		})
	}
}

// TestHealthySince holds that what a rollout counts by is when a task turned healthy, not when it was last
// looked at.
func TestHealthySince(t *testing.T) {
	def := definition()
	row := &task.Task{ID: "t", Desired: task.DesiredRunning, Checked: true, Observed: task.Observed{State: task.Pending}}
	row.Observed = Next(row, def, sandbox("hrr"), noon).Observed
	if s := row.Observed.HealthySince; s == nil || !s.Equal(noon) {
		t.Fatalf("HealthySince = %v, want noon", s)
	}
	row.Observed = Next(row, def, sandbox("hrr"), noon.Add(time.Hour)).Observed
	if s := row.Observed.HealthySince; s == nil || !s.Equal(noon) {
		t.Errorf("an hour later: HealthySince = %v, want noon", s)
	}
	row.Observed = Next(row, def, sandbox("urr"), noon.Add(time.Hour)).Observed
	if row.Observed.HealthySince != nil {
		t.Errorf("unhealthy: HealthySince = %v, want none", row.Observed.HealthySince)
	}
}

// TestStartTimeout: who depends on a container that is not ready within its startTimeout never starts, and until then it is
// known when to look again (ECS API Reference, "ContainerDefinition").
func TestStartTimeout(t *testing.T) {
	def := definition()
	def.Containers[0].Options.StartTimeout = 30 * time.Second
	row := &task.Task{ID: "t", Desired: task.DesiredRunning, Observed: task.Observed{State: task.Pending}}
	for _, tc := range []struct {
		box   string
		after time.Duration
		again time.Duration
		fails string
	}{
		{"rr-", 10 * time.Second, 20 * time.Second, ""},
		{"ur-", 29 * time.Second, time.Second, ""},
		{"hr-", time.Hour, 0, ""},
		{"r--", 30 * time.Second, 0, "TaskDependencyError: container app depends on db, which was not HEALTHY within its startTimeout of 30s"},
		{"---", time.Hour, 0, ""}, // it counts from the start
	} {
		box := sandbox(tc.box)
		box.Containers[1] = ContainerStatus{Name: "app", Health: HealthUnknown}
		s := Next(row, def, box, noon.Add(tc.after))
		if s.Again != tc.again || s.StopReason != tc.fails {
			t.Errorf("%s after %v: again in %v, %q; want %v, %q", tc.box, tc.after, s.Again, s.StopReason, tc.again, tc.fails)
		}
	}
}
