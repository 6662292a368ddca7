package process

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
)

// firstCheck is how long after its start a container is first checked. Until there is a verdict, each wait is half as
// long again as the one before, up to the interval: a container that is ready early is found healthy early.
const firstCheck = 250 * time.Millisecond

// withDefaults fills in what ECS fills in (HealthCheck in the ECS API reference: interval 30, timeout 5, retries 3).
func withDefaults(hc agent.HealthCheck) agent.HealthCheck {
	if hc.Interval <= 0 {
		hc.Interval = 30 * time.Second
	}
	if hc.Timeout <= 0 {
		hc.Timeout = 5 * time.Second
	}
	if hc.Retries <= 0 {
		hc.Retries = 3
	}
	return hc
}

// checkArgv is the program that a health check runs; nil when there is no check.
func checkArgv(hc *agent.HealthCheck) ([]string, error) {
	if hc == nil || len(hc.Command) == 0 {
		return nil, nil
	}
	switch kind, rest := hc.Command[0], hc.Command[1:]; {
	case kind == "NONE":
		return nil, nil
	case kind == "CMD" && len(rest) > 0 && rest[0] != "":
		return rest, nil
	case kind == "CMD-SHELL" && len(rest) > 0:
		return []string{"/bin/sh", "-c", strings.Join(rest, " ")}, nil
	}
	return nil, errors.New("a health check command begins with CMD, a program and its arguments, or with CMD-SHELL and a shell command")
}

// streak is what a container's health checks have said so far.
type streak struct {
	health   agent.Health
	failures int           // that counted, since the last success
	counted  time.Duration // after the start: when the last failure that counted ended
	wait     time.Duration // until the next check
	output   string        // of the last failure that counted; empty after a success
}

// resumed is the streak of a container whose verdict was reached before: it is checked at once.
func resumed(verdict agent.Health, output string) streak {
	if verdict == "" || verdict == agent.HealthUnknown {
		return streak{health: agent.HealthUnknown, wait: firstCheck}
	}
	return streak{health: verdict, output: output}
}

// after is the streak after one more check, which ended at age (time since the container's start).
//
// A success makes the container healthy. While it is undecided, failures in the start period do not count, and
// others count one for each interval at most: the early extra checks can only find it healthy sooner, never
// unhealthy sooner than ECS would. So many counted in a row as hc.Retries make it unhealthy.
func (s streak) after(hc agent.HealthCheck, age time.Duration, passed bool, output string) streak {
	undecided := s.health == agent.HealthUnknown
	countsFrom := max(hc.StartPeriod, s.counted+hc.Interval)
	next := s
	switch {
	case passed:
		next = streak{health: agent.HealthHealthy}
	case undecided && age < countsFrom:
	default:
		next.failures++
		next.counted = age
		next.output = output
		if next.failures >= hc.Retries {
			next.health = agent.HealthUnhealthy
		}
	}
	next.wait = hc.Interval
	if next.health == agent.HealthUnknown {
		next.wait = min(next.wait, max(firstCheck, s.wait*3/2))
		if left := max(hc.StartPeriod, next.counted+hc.Interval) - age; left > 0 {
			next.wait = min(next.wait, left) // do not step over the first moment that counts
		}
	}
	return next
}

// failureOutput is what is kept of a check that failed.
func failureOutput(res execResult, timeout time.Duration) string {
	switch {
	case res.TimedOut:
		return strings.TrimSpace(fmt.Sprintf("Health check exceeded timeout (%v). %s", timeout, res.Output))
	case res.Output == "":
		return fmt.Sprintf("Health check ended with exit code %d.", res.Code)
	}
	return res.Output
}
