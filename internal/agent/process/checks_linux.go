package process

import (
	"context"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/process/protocol"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// startOrStopCheck starts a container's health checks when it runs, and stops them when it has ended.
func (r *Runtime) startOrStopCheck(u protocol.Update) {
	key := u.Key()
	argv, err := u.Check.Argv()
	if err != nil || argv == nil {
		return // no check; Create rejects invalid ones
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	cancel, checked := r.checks[key]
	switch status := u.Event.Status; {
	case status.Running() && !checked && r.ctx.Err() == nil:
		ctx, cancel := context.WithCancel(r.ctx)
		r.checks[key] = cancel
		r.running.Go(func() { r.runChecks(ctx, key, status, argv, withDefaults(*u.Check)) })
	case status.Ended() && checked:
		cancel() // runChecks forgets the check
	}
}

func (r *Runtime) forgetCheck(key protocol.ContainerKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if cancel, found := r.checks[key]; found {
		cancel()
		delete(r.checks, key)
	}
}

// runChecks runs a container's health checks until ctx is done. It reports each verdict to the supervisor, which
// records it and sends it to all clients, including this Runtime.
func (r *Runtime) runChecks(
	ctx context.Context, key protocol.ContainerKey, status agent.ContainerStatus, argv []string, check agent.HealthCheck,
) {
	defer r.forgetCheck(key)
	s := resumedStreak(status.Health, status.HealthOutput)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(s.wait):
		}
		var res protocol.ExecResult
		args := protocol.ExecArgs{TaskID: key.TaskID, Container: key.Container, Argv: argv, Timeout: check.Timeout}
		err := r.call(ctx, protocol.CallExec, args, &res)
		if fault.Is(err, fault.NotFound) {
			return // the container has ended or was removed
		}
		if err != nil {
			// The supervisor is being replaced, which does not affect the container's health.
			s.wait = max(s.wait, time.Second)
			continue
		}
		passed := res.Code == 0 && !res.TimedOut
		next := s.after(check, time.Since(status.StartedAt), passed, failureOutput(res, check.Timeout))
		if next.health != s.health || next.output != s.output {
			if err := r.reportHealth(ctx, key, next); err != nil {
				s.wait = max(s.wait, time.Second)
				continue // check and report again
			}
		}
		s = next
	}
}

// reportHealth sends the verdict of a container's health checks to the supervisor.
func (r *Runtime) reportHealth(ctx context.Context, key protocol.ContainerKey, s streak) error {
	args := protocol.HealthArgs{TaskID: key.TaskID, Container: key.Container, Health: s.health, Output: s.output}
	err := r.call(ctx, protocol.CallHealth, args, nil)
	if err != nil && ctx.Err() == nil {
		r.log.Error("cannot report a container's health", "task", key.TaskID, "container", key.Container, "err", err)
	}
	return err
}
