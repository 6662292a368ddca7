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
		{task.Breaker{}, 0, 3}, {task.Breaker{}, 1, 3}, {task.Breaker{}, 6, 3}, {task.Breaker{}, 7, 4},
		{task.Breaker{}, 25, 13}, {task.Breaker{}, 400, 200}, {task.Breaker{}, 800, 200},
		{task.Breaker{Type: task.ThresholdBoundedPercent, Value: 10}, 10, 3},
		{task.Breaker{Type: task.ThresholdBoundedPercent, Value: 10}, 95, 10},
		{task.Breaker{Type: task.ThresholdBoundedPercent, Value: 100}, 500, 200},
		{task.Breaker{Type: task.ThresholdUnboundedPercent, Value: 10}, 10, 1},
		{task.Breaker{Type: task.ThresholdUnboundedPercent, Value: 100}, 500, 500},
		{task.Breaker{Type: task.ThresholdUnboundedPercent, Value: 50}, 0, 1},
		{task.Breaker{Type: task.ThresholdCount, Value: 7}, 100, 7},
	} {
		if got := tc.breaker.Threshold(tc.desired); got != tc.want {
			t.Errorf("threshold of %+v with desired count %d = %d, want %d", tc.breaker, tc.desired, got, tc.want)
		}
	}
}

// TestBreaker checks a rollout with a circuit breaker. The deployment before the primary one has completed.
func TestBreaker(t *testing.T) {
	failed := func(n int) func(*task.Service) {
		return func(svc *task.Service) {
			svc.Primary().Failures = task.Failures{FailedTasks: n, FailedAt: noon.Add(-90 * time.Second), Waves: 1}
		}
	}
	for _, tc := range []struct {
		name     string
		desired  int
		rollback bool
		tasks    string
		edit     func(*task.Service)
		want     string
	}{
		{"third failure trips", 1, true, "Rfff", nil, "failed 3, breaker trips, rolls back"},
		{"two failures do not", 1, true, "Rff", nil, "failed 2"},
		{"counted failures count", 1, true, "Rf", failed(2), "failed 3, breaker trips, rolls back"},
		{"below half of ten", 10, true, "RRRRRRRRRRffff", nil, "failed 4, unable to start"},
		{"half of ten", 10, true, "RRRRRRRRRRfffff", nil, "failed 5, breaker trips, rolls back"},
		{"without rollback", 1, false, "Rfff", nil, "failed 3, breaker trips"},
		{"nothing to roll back to", 1, true, "fff", func(svc *task.Service) {
			svc.Deployments = svc.Deployments[:1]
		}, "failed 3, breaker trips"},
		{"rolls back to a completed deployment without tasks", 1, true, "fff", func(svc *task.Service) {
			svc.Settled, svc.Deployments = &svc.Deployments[1], svc.Deployments[:1]
		}, "failed 3, breaker trips, rolls back"},
		{"a rollback is not rolled back", 1, true, "Rfff", func(svc *task.Service) {
			svc.Primary().RollsBack = true
		}, "failed 3, breaker trips"},
		{"not after completion", 1, true, "fff", func(svc *task.Service) {
			svc.Primary().Rollout = task.Completed
		}, "failed 3, unable to start"},
		{"a stable task resets the count", 3, true, "RRRrf", failed(2), "stop R2, failed 1"},
		{"a cumulative breaker is not reset", 3, true, "RRRrf", func(svc *task.Service) {
			failed(2)(svc)
			svc.Breaker.Cumulative = true
		}, "failed 3, breaker trips, rolls back"},
		{"a task that has just begun to serve does not reset the count", 3, true, "RRRnf", failed(2),
			"failed 3, breaker trips, rolls back"},
		{"a task that passed its health check resets the count", 3, true, "RRRhf", failed(2), "stop R2, failed 1"},

		{"a new task is not proven before the proving period is over", 1, true, "Rn", nil, ""},
		{"a task that passed its health check is proven", 1, true, "Rh", nil, "stop R0, completed"},
		{"without a breaker a new task is proven", 1, true, "Rn", func(svc *task.Service) {
			svc.Breaker = nil
		}, "stop R0, completed"},
		{"the next wave uses all the room", 2, true, "RRx", failed(1), "start 2"},

		{"stop with rollback", 1, false, "Rp", func(svc *task.Service) {
			svc.Primary().Stop = task.StopRollback
		}, "stopped, rolls back"},
		{"stop without rollback", 1, true, "Rp", func(svc *task.Service) {
			svc.Primary().Stop = task.StopAbort
		}, "stopped"},
		{"stop a rollback", 1, true, "Rp", func(svc *task.Service) {
			svc.Primary().RollsBack, svc.Primary().Stop = true, task.StopAbort
		}, "stopped"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			svc := service(tc.desired, 100, 200)
			svc.Breaker = &task.Breaker{Rollback: tc.rollback}
			if tc.edit != nil {
				tc.edit(svc)
			}
			if got := plan(svc, tc.tasks, noon).String(); got != tc.want {
				t.Errorf("Plan(%q) = %q, want %q", tc.tasks, got, tc.want)
			}
		})
	}
}

// TestFailedRollout checks that a rollout that failed without a rollback starts nothing and keeps the serving tasks.
func TestFailedRollout(t *testing.T) {
	for _, tc := range []struct {
		name    string
		desired int
		tasks   string
		want    string
	}{
		{"keep the old tasks", 2, "RRxxx", ""},
		{"stop pending tasks that exceed the desired count", 2, "RRppx", "stop p3, stop p2"},
		{"keep a new task that has replaced an old one", 2, "Rrx", ""},
		{"do not replace a task that has ended", 2, "Rx", ""},
		{"scale out starts nothing", 4, "RRx", ""},
		{"scale in stops the failed deployment first", 1, "Rrx", "stop r1"},
		{"scale to zero", 0, "RRrpu", "stop p3, stop r2, stop R1, stop R0, replace u4"},
		{"stop an unhealthy task when enough serve", 1, "Ru", "replace u1"},
		{"keep an unhealthy task otherwise", 2, "Ru", ""},
		{"all tasks failed", 2, "xxx", ""},
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

// TestBreakerTripsSoon checks that a breaker whose tasks all fail trips within a minute, even if the threshold is
// high and there is room for few tasks at a time.
func TestBreakerTripsSoon(t *testing.T) {
	svc := service(100, 100, 110) // room for 10 tasks, a threshold of 50
	svc.Breaker = &task.Breaker{Rollback: true}
	now := noon
	tasks := strings.Repeat("R", 100)
	for waves := 1; ; waves++ {
		ch := plan(svc, tasks, now)
		if ch.Start != 10 {
			t.Fatalf("wave %d: %d starts, want 10: %s", waves, ch.Start, ch)
		}
		ch = plan(svc, tasks+strings.Repeat("f", ch.Start), now)
		if ch.FailedBy == BreakerTripped {
			break
		}
		svc.Primary().Failures = ch.Failures
		now = ch.Failures.RetryAt
	}
	if elapsed := now.Sub(noon); elapsed > time.Minute {
		t.Errorf("the breaker tripped after %v, want at most a minute", elapsed)
	}
}

// TestPlanAgainWhenProven checks that a plan is made again when a task without a health check becomes proven.
func TestPlanAgainWhenProven(t *testing.T) {
	svc := service(1, 100, 200)
	svc.Breaker = &task.Breaker{}
	ch := plan(svc, "Rn", noon.Add(time.Second))
	if !ch.PlanAgainAt.Equal(noon.Add(provingPeriod)) {
		t.Fatalf("plan again at %v, want %v", ch.PlanAgainAt, noon.Add(provingPeriod))
	}
	if got := plan(svc, "Rn", ch.PlanAgainAt).String(); got != "stop R0, completed" {
		t.Errorf("after the proving period: %q, want \"stop R0, completed\"", got)
	}
}
