package rollout

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/task"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// parseTasks reads one letter a task. Lower case is of the primary deployment, upper case of the one before. r
// has served for a minute, n since now, h likewise by its health check, p is on its way, k and q are an r and a p
// that are protected, u is unhealthy, s is stopping, f failed to start and was not counted yet, x likewise but counted. A task's
// id is its letter and place.
func parseTasks(notation string) []*task.Task {
	var ts []*task.Task
	for i, letter := range notation {
		t := &task.Task{
			ID: fmt.Sprintf("%c%d", letter, i), Service: "web", Deployment: "new", Desired: task.DesiredRunning,
			Created: noon.Add(time.Duration(i-100) * time.Second), Observed: task.Observed{State: task.Running},
		}
		since, until := noon.Add(-time.Minute), noon.Add(time.Hour)
		t.Observed.StartedAt = &since
		switch strings.ToLower(string(letter)) {
		case "r":
			t.Observed.HealthySince = &since
		case "k":
			t.Observed.HealthySince, t.ProtectedUntil = &since, &until
		case "n", "h":
			t.Observed.HealthySince, t.Checked = &noon, strings.EqualFold(string(letter), "h")
		case "p", "q":
			t.Observed.State, t.Observed.StartedAt = task.Pending, nil
			if strings.EqualFold(string(letter), "q") {
				t.ProtectedUntil = &until
			}
		case "u":
			t.Checked, t.Observed.Health = true, task.HealthUnhealthy
		case "s":
			t.Desired, t.StopCode, t.Observed.State = task.DesiredStopped, task.ServiceSchedulerInitiated, task.Stopping
		case "f", "x":
			t.Desired, t.StopCode, t.Observed.State = task.DesiredStopped, task.TaskFailedToStart, task.Stopped
			t.Observed.StartedAt = nil
			t.Counted = letter == 'x'
		}
		if letter < 'a' {
			t.Deployment = "old"
		}
		ts = append(ts, t)
	}
	return ts
}

func service(desired, min, max int) *task.Service {
	return &task.Service{
		Name: "web", Status: task.Active, DesiredCount: desired, MinimumHealthy: min, Maximum: max,
		Deployments: []task.Deployment{{ID: "new", Rollout: task.InProgress}, {ID: "old", Rollout: task.Completed}},
	}
}

// String is a plan in the notation of the tables.
func (c Changes) String() string {
	var parts []string
	say := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if c.Start > 0 && c.Nodes != nil {
		say("start on %s", strings.Join(c.Nodes, " "))
	} else if c.Start > 0 {
		say("start %d", c.Start)
	}
	for _, s := range c.Stop {
		if s.Reason == ReasonUnhealthy {
			say("replace %s", s.ID)
		} else {
			say("stop %s", s.ID)
		}
	}
	if len(c.Count) > 0 {
		say("failed %d", c.Failures.FailedTasks)
	}
	switch {
	case c.Fail == Tripped:
		say("trips")
	case c.Fail == Stopped:
		say("ends")
	}
	if c.RollBack {
		say("rolls back")
	}
	if c.Completed {
		say("completed")
	}
	if c.Inactive {
		say("inactive")
	}
	switch c.Blocked {
	case "":
	case blockedByBounds:
		say("blocked")
	default:
		say("protected")
	}
	return strings.Join(parts, ", ")
}

func plan(svc *task.Service, tasks string, now time.Time) Changes {
	return Plan(svc, NewServiceTasks(parseTasks(tasks)...), nil, now)
}

func TestPlan(t *testing.T) {
	for _, tc := range []struct {
		name              string
		desired, min, max int
		tasks, want       string
	}{
		{"new service", 2, 100, 200, "", "start 2"},
		{"waits for what is on its way", 2, 100, 200, "pp", ""},
		{"arrived", 2, 100, 200, "rr", "completed"},
		{"one stopped", 2, 100, 200, "rs", "start 1"},
		{"scale down takes the newest", 1, 100, 200, "rrr", "stop r2, stop r1, completed"},
		{"scale down takes what does not serve first", 1, 100, 200, "rpr", "stop p1, stop r2, completed"},
		{"scale down takes what began to serve last", 1, 100, 200, "nr", "stop n0, completed"},
		{"scale to nothing", 0, 100, 200, "rp", "stop p1, stop r0, completed"},

		{"update starts beside the old", 4, 100, 200, "RRRR", "start 4"},
		{"update stops an old one for each that serves", 4, 100, 200, "RRRRrrpp", "stop R3, stop R2"},
		{"update half gone first", 4, 50, 200, "RRRR", "start 4, stop R3, stop R2"},
		{"update half gone first, with no room for more", 4, 50, 100, "RRRR", "stop R3, stop R2"},
		{"update within the maximum, stopping ones count", 4, 50, 100, "RRSS", ""},
		{"update goes on when the stopping ones are gone", 4, 50, 100, "RR", "start 2"},
		{"75 percent of two rounds up: start before stop", 2, 75, 200, "RR", "start 2"},
		{"125 percent of three rounds down: blocked", 3, 100, 125, "RRR", "blocked"},
		{"blocked only when nothing is under way", 3, 100, 125, "RRRS", ""},
		{"one task, start then stop", 1, 100, 200, "Rr", "stop R0, completed"},
		{"one task, stop then start", 1, 0, 100, "R", "stop R0"},
		{"an old one that does not serve goes at once", 2, 100, 200, "RPpp", "stop P1"},

		{"scaled up during an update", 6, 100, 150, "RRRRrr", "start 3"},
		{"scaled down during an update: the old go down first", 1, 100, 200, "RRRRpp", "stop p5, stop R3, stop R2, stop R1"},
		{"scaled down during an update: the new go down too", 1, 100, 200, "RRRRrr", "stop r5, stop R3, stop R2, stop R1, stop R0, completed"},
		{"scaled to nothing during an update", 0, 100, 200, "RRp", "stop p2, stop R1, stop R0, completed"},

		{"unhealthy: the replacement comes first", 2, 100, 200, "ru", "start 1"},
		{"unhealthy: kept until the replacement serves", 2, 100, 200, "rup", ""},
		{"unhealthy: its replacement takes the last room and is waited for", 1, 100, 200, "up", ""},
		{"unhealthy: so do several", 2, 100, 200, "uupp", ""},
		{"unhealthy: a replacement that is no better makes room, the older stays", 1, 100, 200, "uu", "replace u1"},
		{"unhealthy: replaced", 2, 100, 200, "rur", "replace u1, completed"},
		{"unhealthy: no room for a replacement", 1, 0, 100, "u", "replace u0"},
		{"unhealthy old ones stay until the new serve", 1, 100, 200, "U", "start 1"},

		{"protected: scale down takes others", 1, 100, 200, "rkr", "stop r2, stop r0, completed"},
		{"protected: more than are wanted", 1, 100, 200, "kk", "completed, protected"},
		{"protected: scale down waits for one that does not serve yet", 1, 100, 200, "rq", "completed, protected"},
		{"protected: an update leaves them, and goes on around them", 2, 100, 200, "RKrr", "stop R0"},
		{"protected: an update that only they hold up", 2, 100, 200, "Krr", "protected"},
		{"protected: an update that has no room beside them", 2, 0, 100, "KK", "protected"},

		{"a failure is counted once", 1, 100, 200, "f", "failed 1"},
		{"counted failures are not counted again", 1, 100, 200, "x", "start 1"},
		{"failures of older deployments do not count", 1, 100, 200, "F", "start 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := plan(service(tc.desired, tc.min, tc.max), tc.tasks, noon).String(); got != tc.want {
				t.Errorf("Plan(%q) = %q, want %q", tc.tasks, got, tc.want)
			}
		})
	}
}

// TestBatches: what one plan does not stop of an older deployment keeps it in the list.
func TestBatches(t *testing.T) {
	ch := plan(service(0, 100, 200), strings.Repeat("R", batch+1), noon)
	if len(ch.Stop) != batch || len(ch.Keep) != 2 || ch.Completed {
		t.Errorf("%d stops, keeps %v, completed %v", len(ch.Stop), ch.Keep, ch.Completed)
	}
	if ch := plan(service(2*batch, 100, 200), "", noon); ch.Start != batch {
		t.Errorf("%d starts, want %d", ch.Start, batch)
	}
}

// TestOldestGoFirst: of several older deployments the oldest makes room first.
func TestOldestGoFirst(t *testing.T) {
	svc := service(2, 50, 200)
	svc.Deployments = append(svc.Deployments, task.Deployment{ID: "older", Rollout: task.Failed})
	tasks := parseTasks("RR")
	tasks[0].Deployment, tasks[0].ID = "older", "older"
	if ch := Plan(svc, NewServiceTasks(tasks...), nil, noon); ch.String() != "start 2, stop older" || len(ch.Keep) != 2 {
		t.Errorf("plan %q, keeps %v", ch, ch.Keep)
	}
}

// TestSteady: a service is steady when what is wanted serves, and nothing else is left.
func TestSteady(t *testing.T) {
	svc := service(2, 100, 200)
	for _, state := range []task.Rollout{task.InProgress, task.Completed} {
		svc.Primary().Rollout = state
		for tasks, want := range map[string]bool{"rr": true, "rrx": true, "rrs": false, "rrS": false, "rp": false, "rrr": false, "rrR": false, "ru": false} {
			if ch := plan(svc, tasks, noon); ch.Steady != want {
				t.Errorf("%s, %q: steady %v", state, tasks, ch.Steady)
			}
		}
	}
}

func TestFailuresDelayTheNextTask(t *testing.T) {
	svc := service(1, 100, 200)
	now := noon
	var last time.Duration
	for n := 1; n <= 30; n++ {
		ch := plan(svc, "f", now)
		if ch.Start != 0 || ch.Failures.FailedTasks != n {
			t.Fatalf("failure %d: plan %+v", n, ch)
		}
		delay := ch.Failures.RetryAt.Sub(now)
		if delay < last || delay > mostDelay || !ch.LookAgain.Equal(ch.Failures.RetryAt) {
			t.Fatalf("failure %d: delay %v after %v, look again %v", n, delay, last, ch.LookAgain)
		}
		last = delay
		svc.Primary().Failures = ch.Failures
		if got := plan(svc, "x", ch.Failures.RetryAt.Add(-time.Millisecond)).Start; got != 0 {
			t.Fatalf("failure %d: started %d before its time", n, got)
		}
		now = ch.Failures.RetryAt
		if got := plan(svc, "x", now).Start; got != 1 {
			t.Fatalf("failure %d: started %d when its time had come", n, got)
		}
	}
	if last != mostDelay {
		t.Errorf("delays grow to %v, want %v", last, mostDelay)
	}
	if ch := plan(svc, "r", now); ch.Failures.FailedTasks != 30 {
		t.Errorf("a task that served before the last failure ends the row: %+v", ch)
	}
	recovered := parseTasks("r")
	since := now.Add(time.Second)
	recovered[0].Observed.HealthySince = &since
	if ch := Plan(svc, NewServiceTasks(recovered...), nil, since.Add(steady)); ch.Failures != (task.Failures{}) {
		t.Errorf("a task that began to serve after the last failure does not end the row: %+v", ch)
	}
}

// TestSiblingsDoNotEndTheDelay: of two tasks one serves on and the other fails each time it is started.
func TestSiblingsDoNotEndTheDelay(t *testing.T) {
	svc := service(2, 100, 200)
	ch := plan(svc, "rf", noon)
	if ch.Start != 0 || ch.Failures.FailedTasks != 1 {
		t.Fatalf("plan %+v, want no start and one failure", ch)
	}
	svc.Primary().Failures = ch.Failures
	if ch := plan(svc, "rx", noon.Add(firstDelay/2)); ch.Start != 0 || ch.Failures.FailedTasks != 1 {
		t.Errorf("before its time: %+v", ch)
	}
	if ch := plan(svc, "rf", noon.Add(firstDelay)); ch.Failures.FailedTasks != 2 || ch.Failures.RetryAt.Sub(noon) != 3*firstDelay {
		t.Errorf("the second failure: %+v, want twice the delay", ch)
	}
}

// TestFailuresOfOneWave: tasks that were started together and fail together are waited for once.
func TestFailuresOfOneWave(t *testing.T) {
	if ch := plan(service(8, 100, 200), "ffffffff", noon); ch.Failures.FailedTasks != 8 || ch.Failures.RetryAt.Sub(noon) != firstDelay {
		t.Errorf("%+v, want 8 failures and the first delay", ch.Failures)
	}
}

func TestGracePeriod(t *testing.T) {
	svc := service(1, 100, 200)
	svc.GracePeriod = 2 * time.Minute // parseTasks' tasks started a minute ago
	ch := plan(svc, "u", noon)
	if ch.String() != "" || !ch.LookAgain.Equal(noon.Add(time.Minute)) {
		t.Errorf("within the grace period: %q, look again %v", ch, ch.LookAgain)
	}
	if ch := plan(svc, "u", noon.Add(2*time.Minute)); ch.String() != "start 1" {
		t.Errorf("after it: %q", ch)
	}
}

func TestDeletion(t *testing.T) {
	svc := service(2, 100, 200)
	svc.Status = task.DrainingStatus
	for tasks, want := range map[string]string{
		"rpU": "stop p1, stop r0, stop U2",
		"rs":  "stop r0",
		"kx":  "stop k0",
		"ss":  "inactive",
		"":    "inactive",
	} {
		ch := plan(svc, tasks, noon)
		for i := range ch.Stop {
			ch.Stop[i].Reason = ""
		}
		if got := ch.String(); got != want {
			t.Errorf("Plan(%q) = %q, want %q", tasks, got, want)
		}
	}
}
