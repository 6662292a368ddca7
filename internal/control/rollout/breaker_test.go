package rollout

import (
	"strings"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/task"
)

func TestThreshold(t *testing.T) {
	for _, tc := range []struct {
		breaker       task.Breaker
		desired, want int
	}{
		{task.Breaker{}, 0, 3}, {task.Breaker{}, 1, 3}, {task.Breaker{}, 6, 3}, {task.Breaker{}, 7, 4}, {task.Breaker{}, 25, 13},
		{task.Breaker{}, 400, 200}, {task.Breaker{}, 800, 200},
		{task.Breaker{Type: task.ThresholdBoundedPercent, Value: 10}, 10, 3},
		{task.Breaker{Type: task.ThresholdBoundedPercent, Value: 10}, 95, 10},
		{task.Breaker{Type: task.ThresholdBoundedPercent, Value: 100}, 500, 200},
		{task.Breaker{Type: task.ThresholdUnboundedPercent, Value: 10}, 10, 1},
		{task.Breaker{Type: task.ThresholdUnboundedPercent, Value: 100}, 500, 500},
		{task.Breaker{Type: task.ThresholdUnboundedPercent, Value: 50}, 0, 1},
		{task.Breaker{Type: task.ThresholdCount, Value: 7}, 100, 7},
	} {
		if got := tc.breaker.Threshold(tc.desired); got != tc.want {
			t.Errorf("%+v of %d = %d, want %d", tc.breaker, tc.desired, got, tc.want)
		}
	}
}

// TestBreaker: the primary deployment is under way beside an old one that was completed, and a circuit breaker
// watches.
func TestBreaker(t *testing.T) {
	failed := func(n int) func(*task.Service) {
		return func(svc *task.Service) {
			svc.Primary().Failures = task.Failures{FailedTasks: n, FailedAt: noon.Add(-90 * time.Second), Waves: 1}
		}
	}
	for _, tc := range []struct {
		name    string
		desired int
		rolls   bool
		tasks   string
		edit    func(*task.Service)
		want    string
	}{
		{"the third failure trips", 1, true, "Rfff", nil, "failed 3, trips, rolls back"},
		{"two do not", 1, true, "Rff", nil, "failed 2"},
		{"counted ones are remembered", 1, true, "Rf", failed(2), "failed 3, trips, rolls back"},
		{"half of ten", 10, true, "RRRRRRRRRRffff", nil, "failed 4"},
		{"half of ten, reached", 10, true, "RRRRRRRRRRfffff", nil, "failed 5, trips, rolls back"},
		{"without rollback", 1, false, "Rfff", nil, "failed 3, trips"},
		{"nothing to roll back to", 1, true, "fff", func(svc *task.Service) { svc.Deployments = svc.Deployments[:1] }, "failed 3, trips"},
		{"what was completed before and runs no more", 1, true, "fff", func(svc *task.Service) {
			svc.Settled, svc.Deployments = &svc.Deployments[1], svc.Deployments[:1]
		}, "failed 3, trips, rolls back"},
		{"a rollback is not rolled back", 1, true, "Rfff", func(svc *task.Service) { svc.Primary().RollsBack = true }, "failed 3, trips"},
		{"not after completion", 1, true, "fff", func(svc *task.Service) { svc.Primary().Rollout = task.Completed }, "failed 3"},
		{"a healthy task ends the row", 3, true, "RRRrf", failed(2), "stop R2, failed 1"},
		{"unless the breaker is cumulative", 3, true, "RRRrf", func(svc *task.Service) {
			failed(2)(svc)
			svc.Breaker.Cumulative = true
		}, "failed 3, trips, rolls back"},
		{"one that serves for a moment does not", 3, true, "RRRnf", failed(2), "failed 3, trips, rolls back"},
		{"one that was found healthy does", 3, true, "RRRhf", failed(2), "stop R2, failed 1"},

		{"a new task counts when it has served for long", 1, true, "Rn", nil, ""},
		{"or was found healthy", 1, true, "Rh", nil, "stop R0, completed"},
		{"or without a breaker", 1, true, "Rn", func(svc *task.Service) { svc.Breaker = nil }, "stop R0, completed"},
		{"the next wave is as large as the bounds allow", 2, true, "RRx", failed(1), "start 2"},

		{"stopped: rolls back", 1, false, "Rp", func(svc *task.Service) { svc.Primary().Stop = task.StopRollback }, "ends, rolls back"},
		{"stopped: aborts", 1, true, "Rp", func(svc *task.Service) { svc.Primary().Stop = task.StopAbort }, "ends"},
		{"stopped: the rollback is aborted", 1, true, "Rp", func(svc *task.Service) {
			svc.Primary().RollsBack, svc.Primary().Stop = true, task.StopAbort
		}, "ends"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			svc := service(tc.desired, 100, 200)
			svc.Breaker = &task.Breaker{Rollback: tc.rolls}
			if tc.edit != nil {
				tc.edit(svc)
			}
			if got := plan(svc, tc.tasks, noon).String(); got != tc.want {
				t.Errorf("Plan(%q) = %q, want %q", tc.tasks, got, tc.want)
			}
		})
	}
}

// TestFailed: a rollout that has failed without a rollback starts nothing, and what serves stays.
func TestFailed(t *testing.T) {
	for _, tc := range []struct {
		name    string
		desired int
		tasks   string
		want    string
	}{
		{"the old go on", 2, "RRxxx", ""},
		{"what is on its way beside them goes", 2, "RRppx", "stop p3, stop p2"},
		{"what serves in place of an old one stays", 2, "Rrx", ""},
		{"nothing takes the place of what ends", 2, "Rx", ""},
		{"scaled up: nothing", 4, "RRx", ""},
		{"scaled down: the failed go first", 1, "Rrx", "stop r1"},
		{"scaled to nothing", 0, "RRrpu", "stop p3, stop r2, stop R1, stop R0, replace u4"},
		{"an unhealthy one goes when enough serve", 1, "Ru", "replace u1"},
		{"and stays when not", 2, "Ru", ""},
		{"all failed", 2, "xxx", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			svc := service(tc.desired, 100, 200)
			svc.Breaker, svc.Primary().Rollout = &task.Breaker{}, task.Failed
			if got := plan(svc, tc.tasks, noon).String(); got != tc.want {
				t.Errorf("Plan(%q) = %q, want %q", tc.tasks, got, tc.want)
			}
		})
	}
}

// TestBreakerComesToAVerdict: when each task fails, a breaker trips before long, also where the bounds leave
// room for few tasks at once and the threshold is high.
func TestBreakerComesToAVerdict(t *testing.T) {
	svc := service(100, 100, 110) // 10 at once, 50 failures
	svc.Breaker = &task.Breaker{Rollback: true}
	now := noon
	tasks := strings.Repeat("R", 100)
	for waves := 1; ; waves++ {
		ch := plan(svc, tasks, now)
		if ch.Start != 10 {
			t.Fatalf("wave %d starts %d, want 10: %s", waves, ch.Start, ch)
		}
		ch = plan(svc, tasks+strings.Repeat("f", ch.Start), now)
		if ch.Fail == Tripped {
			break
		}
		svc.Primary().Failures = ch.Failures
		now = ch.Failures.RetryAt
	}
	if took := now.Sub(noon); took > time.Minute {
		t.Errorf("the verdict took %v", took)
	}
}

// TestProvenInTime: the plan asks to be made again when a task without a health check will have served for long.
func TestProvenInTime(t *testing.T) {
	svc := service(1, 100, 200)
	svc.Breaker = &task.Breaker{}
	ch := plan(svc, "Rn", noon.Add(time.Second))
	if !ch.LookAgain.Equal(noon.Add(steady)) {
		t.Fatalf("looks again at %v, want %v", ch.LookAgain, noon.Add(steady))
	}
	if got := plan(svc, "Rn", ch.LookAgain).String(); got != "stop R0, completed" {
		t.Errorf("then: %q", got)
	}
}
