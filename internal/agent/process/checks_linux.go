package process

import (
	"context"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// check begins a container's health checks when it runs, and ends them when it has ended.
func (r *Runtime) check(u update) {
	key := u.key()
	argv, err := checkArgv(u.Check)
	if err != nil || argv == nil {
		return // refused by Create, or no check
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	cancel, checked := r.checks[key]
	switch status := u.Event.Status; {
	case status.Running() && !checked && r.ctx.Err() == nil:
		ctx, cancel := context.WithCancel(r.ctx)
		r.checks[key] = cancel
		r.running.Go(func() { r.checkUntil(ctx, key, status, argv, withDefaults(*u.Check)) })
	case status.Ended() && checked:
		cancel() // checkUntil forgets it
	}
}

func (r *Runtime) forgetCheck(key containerKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if cancel, found := r.checks[key]; found {
		cancel()
		delete(r.checks, key)
	}
}

// checkUntil runs a container's health checks until ctx ends. The supervisor keeps what they say, and tells it to
// everybody, this Runtime too.
func (r *Runtime) checkUntil(ctx context.Context, key containerKey, status agent.ContainerStatus, argv []string, hc agent.HealthCheck) {
	defer r.forgetCheck(key)
	s := resumed(status.Health, status.HealthOutput)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(s.wait):
		}
		var res execResult
		err := r.call(ctx, callExec, execArgs{key.taskID, key.container, argv, hc.Timeout}, &res)
		if fault.Is(err, fault.NotFound) {
			return // it has ended, or was removed
		}
		if err != nil {
			// The supervisor is being replaced, which says nothing of the container's health.
			s.wait = max(s.wait, time.Second)
			continue
		}
		next := s.after(hc, time.Since(status.StartedAt), res.Code == 0 && !res.TimedOut, failureOutput(res, hc.Timeout))
		if next.health != s.health || next.output != s.output {
			err := r.call(ctx, callHealth, healthArgs{key.taskID, key.container, next.health, next.output}, nil)
			if err != nil {
				if ctx.Err() == nil {
					r.log.Error("a container's health cannot be told", "task", key.taskID, "container", key.container, "err", err)
				}
				s.wait = max(s.wait, time.Second)
				continue // checked again, so that the verdict is told after all
			}
		}
		s = next
	}
}
