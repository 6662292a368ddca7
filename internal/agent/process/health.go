package process

import (
	"fmt"
	"strings"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/process/protocol"
)

// firstCheck is the time from a container's start to its first health check. Until there is a verdict, each wait is 1.5
// times the one before, up to the interval, so that a container that is ready early is found healthy early.
const firstCheck = 250 * time.Millisecond

// withDefaults sets the defaults of ECS (HealthCheck in the ECS API reference: interval 30, timeout 5, retries 3).
func withDefaults(check agent.HealthCheck) agent.HealthCheck {
	if check.Interval <= 0 {
		check.Interval = 30 * time.Second
	}
	if check.Timeout <= 0 {
		check.Timeout = 5 * time.Second
	}
	if check.Retries <= 0 {
		check.Retries = 3
	}
	return check
}

// streak is the result of a container's health checks so far.
type streak struct {
	health   agent.Health
	failures int           // counted ones since the last success
	counted  time.Duration // from the container's start to the end of the last counted failure
	wait     time.Duration // until the next check
	output   string        // of the last counted failure; empty after a success
}

// resumedStreak returns the streak of a container with the verdict of an earlier server; its first check follows
// immediately.
func resumedStreak(verdict agent.Health, output string) streak {
	if verdict == "" || verdict == agent.HealthUnknown {
		return streak{health: agent.HealthUnknown, wait: firstCheck}
	}
	return streak{health: verdict, output: output}
}

// after returns the streak after one more check, which ended at age, the time since the container's start.
//
// A success makes the container healthy. Before the first verdict, failures in the start period do not count, and later
// ones count at most once an interval: the early extra checks can only find a container healthy sooner than ECS would,
// never unhealthy sooner. As many counted failures in a row as the check's retries make the container unhealthy.
func (s streak) after(check agent.HealthCheck, age time.Duration, passed bool, output string) streak {
	undecided := s.health == agent.HealthUnknown
	countsFrom := max(check.StartPeriod, s.counted+check.Interval)
	next := s
	switch {
	case passed:
		next = streak{health: agent.HealthHealthy}
	case undecided && age < countsFrom:
	default:
		next.failures++
		next.counted = age
		next.output = output
		if next.failures >= check.Retries {
			next.health = agent.HealthUnhealthy
		}
	}
	next.wait = check.Interval
	if next.health == agent.HealthUnknown {
		next.wait = min(next.wait, max(firstCheck, s.wait*3/2))
		if left := max(check.StartPeriod, next.counted+check.Interval) - age; left > 0 {
			next.wait = min(next.wait, left) // check at the first moment at which a failure counts
		}
	}
	return next
}

// failureOutput returns the output that is kept of a failed check.
func failureOutput(res protocol.ExecResult, timeout time.Duration) string {
	switch {
	case res.TimedOut:
		return strings.TrimSpace(fmt.Sprintf("Health check exceeded timeout (%v). %s", timeout, res.Output))
	case res.Output == "":
		return fmt.Sprintf("Health check ended with exit code %d.", res.Code)
	}
	return res.Output
}
