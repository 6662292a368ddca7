package rollout

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/task"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// parseTasks parses one letter per task. Lower-case letters are tasks of the primary deployment, upper-case letters
// those of the deployment before it. A task's id is its letter and its index.
//
//	r  has served for a minute
//	n  has served since now
//	h  has served since now and has a health check
//	p  is pending
//	k  is an r that is protected
//	q  is a p that is protected
//	u  is unhealthy
//	s  is stopping
//	f  failed to start, and the failure is not counted yet
//	x  failed to start, and the failure is counted
func parseTasks(notation string) []*task.Task {
	var ts []*task.Task
	for i, letter := range notation {
		t := &task.Task{
			ID: task.ID(fmt.Sprintf("%c%d", letter, i)), Service: "web", Deployment: "new",
			Desired: task.DesiredRunning,
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

// String formats a plan in the notation of the tables.
func (c Changes) String() string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if c.Start > 0 && c.StartOn != nil {
		add("start on %s", strings.Join(c.StartOn, " "))
	} else if c.Start > 0 {
		add("start %d", c.Start)
	}
	for _, s := range c.Stop {
		if s.Reason == ReasonUnhealthy {
			add("replace %s", s.Task.ID)
		} else {
			add("stop %s", s.Task.ID)
		}
	}
	if len(c.CountFailed) > 0 {
		add("failed %d", c.Failures.FailedTasks)
	}
	if c.UnableToStart {
		add("unable to start")
	}
	switch c.FailedBy {
	case BreakerTripped:
		add("breaker trips")
	case StopRequested:
		add("stopped")
	}
	if c.RollBack {
		add("rolls back")
	}
	if c.Completed {
		add("completed")
	}
	if c.Inactive {
		add("inactive")
	}
	switch c.Blocked {
	case "":
	case blockedByBounds:
		add("blocked")
	default:
		add("protected")
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
		{"tasks are pending", 2, 100, 200, "pp", ""},
		{"all tasks serve", 2, 100, 200, "rr", "completed"},
		{"one task stopped", 2, 100, 200, "rs", "start 1"},
		{"scale in stops the newest", 1, 100, 200, "rrr", "stop r2, stop r1, completed"},
		{"scale in stops a pending task first", 1, 100, 200, "rpr", "stop p1, stop r2, completed"},
		{"scale in stops the task that began to serve last", 1, 100, 200, "nr", "stop n0, completed"},
		{"scale to zero", 0, 100, 200, "rp", "stop p1, stop r0, completed"},

		{"update starts the new tasks first", 4, 100, 200, "RRRR", "start 4"},
		{"update stops an old task for each new one that serves", 4, 100, 200, "RRRRrrpp", "stop R3, stop R2"},
		{"update with a minimum of half stops two first", 4, 50, 200, "RRRR", "start 4, stop R3, stop R2"},
		{"update with a minimum of half and no room to start", 4, 50, 100, "RRRR", "stop R3, stop R2"},
		{"update counts stopping tasks for the maximum", 4, 50, 100, "RRSS", ""},
		{"update continues when the stopping tasks have stopped", 4, 50, 100, "RR", "start 2"},
		{"75 percent of two rounds up: start before stop", 2, 75, 200, "RR", "start 2"},
		{"125 percent of three rounds down: blocked", 3, 100, 125, "RRR", "blocked"},
		{"not blocked while a task is stopping", 3, 100, 125, "RRRS", ""},
		{"one task, start then stop", 1, 100, 200, "Rr", "stop R0, completed"},
		{"one task, stop then start", 1, 0, 100, "R", "stop R0"},
		{"update stops a pending old task immediately", 2, 100, 200, "RPpp", "stop P1"},

		{"scale out during an update", 6, 100, 150, "RRRRrr", "start 3"},
		{"scale in during an update stops old tasks", 1, 100, 200, "RRRRpp", "stop p5, stop R3, stop R2, stop R1"},
		{"scale in during an update stops new tasks too", 1, 100, 200, "RRRRrr",
			"stop r5, stop R3, stop R2, stop R1, stop R0, completed"},
		{"scale to zero during an update", 0, 100, 200, "RRp", "stop p2, stop R1, stop R0, completed"},

		{"unhealthy: start the replacement first", 2, 100, 200, "ru", "start 1"},
		{"unhealthy: keep until the replacement serves", 2, 100, 200, "rup", ""},
		{"unhealthy: keep while the replacement takes the last room", 1, 100, 200, "up", ""},
		{"unhealthy: keep two while their replacements take the last room", 2, 100, 200, "uupp", ""},
		{"unhealthy: an unhealthy replacement makes room, the older task stays", 1, 100, 200, "uu", "replace u1"},
		{"unhealthy: stop when the replacement serves", 2, 100, 200, "rur", "replace u1, completed"},
		{"unhealthy: stop when there is no room for a replacement", 1, 0, 100, "u", "replace u0"},
		{"unhealthy: keep an old task until the new one serves", 1, 100, 200, "U", "start 1"},

		{"protected: scale in stops others", 1, 100, 200, "rkr", "stop r2, stop r0, completed"},
		{"protected: more tasks than desired", 1, 100, 200, "kk", "completed, protected"},
		{"protected: scale in does not stop a pending task", 1, 100, 200, "rq", "completed, protected"},
		{"protected: an update stops others", 2, 100, 200, "RKrr", "stop R0"},
		{"protected: an update waits for the last old task", 2, 100, 200, "Krr", "protected"},
		{"protected: an update has no room", 2, 0, 100, "KK", "protected"},

		{"failure is counted once", 1, 100, 200, "f", "failed 1"},
		{"counted failure is not counted again", 1, 100, 200, "x", "start 1"},
		{"failure of an older deployment is not counted", 1, 100, 200, "F", "start 1"},
		{"two failures", 1, 100, 200, "ff", "failed 2"},
		{"three failures are reported", 1, 100, 200, "fff", "failed 3, unable to start"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := plan(service(tc.desired, tc.min, tc.max), tc.tasks, noon).String(); got != tc.want {
				t.Errorf("Plan(%q) = %q, want %q", tc.tasks, got, tc.want)
			}
		})
	}
}

// TestBatches checks that an older deployment stays in the service while one plan cannot stop all of its tasks.
func TestBatches(t *testing.T) {
	ch := plan(service(0, 100, 200), strings.Repeat("R", batch+1), noon)
	if len(ch.Stop) != batch || len(ch.KeepDeployments) != 2 || ch.Completed {
		t.Errorf("got %d stops, deployments %v, completed %v; want %d stops, two deployments, not completed",
			len(ch.Stop), ch.KeepDeployments, ch.Completed, batch)
	}
	if ch := plan(service(2*batch, 100, 200), "", noon); ch.Start != batch {
		t.Errorf("got %d starts, want %d", ch.Start, batch)
	}
}

// TestOldestDeploymentFirst checks that of several older deployments the oldest one's tasks are stopped first.
func TestOldestDeploymentFirst(t *testing.T) {
	svc := service(2, 50, 200)
	svc.Deployments = append(svc.Deployments, task.Deployment{ID: "older", Rollout: task.Failed})
	tasks := parseTasks("RR")
	tasks[0].Deployment, tasks[0].ID = "older", "older"
	ch := Plan(svc, NewServiceTasks(tasks...), nil, noon)
	if ch.String() != "start 2, stop older" || len(ch.KeepDeployments) != 2 {
		t.Errorf("got %q with deployments %v, want \"start 2, stop older\" with two", ch, ch.KeepDeployments)
	}
}

// TestSteady checks that a service is steady when the desired tasks serve and no other task is left.
func TestSteady(t *testing.T) {
	svc := service(2, 100, 200)
	for _, state := range []task.Rollout{task.InProgress, task.Completed} {
		svc.Primary().Rollout = state
		for tasks, want := range map[string]bool{
			"rr": true, "rrx": true, "rrs": false, "rrS": false, "rp": false, "rrr": false, "rrR": false, "ru": false,
		} {
			if ch := plan(svc, tasks, noon); ch.Steady != want {
				t.Errorf("Plan(%q) of a rollout %s: steady %v, want %v", tasks, state, ch.Steady, want)
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
		if delay < last || delay > maxDelay || !ch.PlanAgainAt.Equal(ch.Failures.RetryAt) {
			t.Fatalf("failure %d: delay %v after %v, plan again at %v", n, delay, last, ch.PlanAgainAt)
		}
		last = delay
		svc.Primary().Failures = ch.Failures
		if got := plan(svc, "x", ch.Failures.RetryAt.Add(-time.Millisecond)).Start; got != 0 {
			t.Fatalf("failure %d: %d starts before the delay is over", n, got)
		}
		now = ch.Failures.RetryAt
		if got := plan(svc, "x", now).Start; got != 1 {
			t.Fatalf("failure %d: %d starts after the delay, want 1", n, got)
		}
	}
	if last != maxDelay {
		t.Errorf("the longest delay is %v, want %v", last, maxDelay)
	}
	if ch := plan(svc, "r", now); ch.Failures.FailedTasks != 30 {
		t.Errorf("a task that served before the last failure resets the count: %+v", ch)
	}
	recovered := parseTasks("r")
	since := now.Add(time.Second)
	recovered[0].Observed.HealthySince = &since
	ch := Plan(svc, NewServiceTasks(recovered...), nil, since.Add(provingPeriod))
	if ch.Failures != (task.Failures{}) {
		t.Errorf("a stable task that began to serve after the last failure does not reset the count: %+v", ch)
	}
}

// TestServingTaskDoesNotEndTheDelay checks that the failures of one task are delayed while another task keeps serving.
func TestServingTaskDoesNotEndTheDelay(t *testing.T) {
	svc := service(2, 100, 200)
	ch := plan(svc, "rf", noon)
	if ch.Start != 0 || ch.Failures.FailedTasks != 1 {
		t.Fatalf("plan %+v, want no start and one failure", ch)
	}
	svc.Primary().Failures = ch.Failures
	if ch := plan(svc, "rx", noon.Add(firstDelay/2)); ch.Start != 0 || ch.Failures.FailedTasks != 1 {
		t.Errorf("during the delay: %+v, want no start", ch)
	}
	ch = plan(svc, "rf", noon.Add(firstDelay))
	if ch.Failures.FailedTasks != 2 || ch.Failures.RetryAt.Sub(noon) != 3*firstDelay {
		t.Errorf("second failure: %+v, want twice the delay", ch)
	}
}

// TestFailuresOfOneWave checks that tasks that start together and fail together cause one delay.
func TestFailuresOfOneWave(t *testing.T) {
	ch := plan(service(8, 100, 200), "ffffffff", noon)
	if ch.Failures.FailedTasks != 8 || ch.Failures.RetryAt.Sub(noon) != firstDelay {
		t.Errorf("%+v, want 8 failures and the first delay", ch.Failures)
	}
}

// TestUnableToStart checks when a plan reports that the service cannot start tasks.
func TestUnableToStart(t *testing.T) {
	for _, tc := range []struct {
		name    string
		counted int // failures before
		tasks   string
		breaker bool
		want    bool
	}{
		{"two failures", 0, "ff", false, false},
		{"three failures", 0, "fff", false, true},
		{"third failure", 2, "f", false, true},
		{"fourth failure", 3, "f", false, true},
		{"no new failure", 3, "x", false, false},
		{"the circuit breaker trips", 2, "f", true, false},
	} {
		svc := service(1, 100, 200)
		svc.Primary().Failures = task.Failures{FailedTasks: tc.counted, FailedAt: noon, Waves: 1}
		if tc.breaker {
			svc.Breaker = &task.Breaker{}
		}
		if got := plan(svc, tc.tasks, noon).UnableToStart; got != tc.want {
			t.Errorf("%s: UnableToStart = %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestGracePeriod(t *testing.T) {
	svc := service(1, 100, 200)
	svc.GracePeriod = 2 * time.Minute // the tasks of parseTasks started a minute ago
	ch := plan(svc, "u", noon)
	if ch.String() != "" || !ch.PlanAgainAt.Equal(noon.Add(time.Minute)) {
		t.Errorf("within the grace period: %q, plan again at %v", ch, ch.PlanAgainAt)
	}
	if ch := plan(svc, "u", noon.Add(2*time.Minute)); ch.String() != "start 1" {
		t.Errorf("after the grace period: %q, want \"start 1\"", ch)
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
