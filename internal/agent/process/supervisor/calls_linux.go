package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/process/protocol"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// handle carries out one call. Calls are idempotent, so that a client that lost the reply can repeat one.
func (s *supervisor) handle(ctx context.Context, call string, raw json.RawMessage) (any, error) {
	switch call {
	case protocol.CallCreate:
		return withArgs(raw, s.create)
	case protocol.CallList:
		return s.list(), nil
	case protocol.CallRemove:
		return withArgs(raw, func(a protocol.TaskArgs) (any, error) {
			s.mu.Lock()
			t := s.tasks[a.TaskID]
			s.mu.Unlock()
			if t == nil {
				return nil, nil
			}
			return nil, s.remove(t)
		})
	case protocol.CallStart:
		return withArgs(raw, func(a protocol.ContainerArgs) (any, error) {
			t, c, err := s.find(a.TaskID, a.Container)
			if err != nil {
				return nil, err
			}
			return nil, s.start(t, c)
		})
	case protocol.CallStop:
		return withArgs(raw, func(a protocol.StopArgs) (any, error) {
			t, c, err := s.find(a.TaskID, a.Container)
			if fault.Is(err, fault.NotFound) {
				return nil, nil
			}
			s.stop(t, c, a.Timeout)
			return nil, nil
		})
	case protocol.CallExec:
		return withArgs(raw, func(a protocol.ExecArgs) (any, error) {
			t, c, err := s.find(a.TaskID, a.Container)
			if err != nil {
				return nil, err
			}
			return s.exec(ctx, t, c, a.Argv, a.Timeout)
		})
	case protocol.CallHealth:
		return withArgs(raw, func(a protocol.HealthArgs) (any, error) { return nil, s.setHealth(a) })
	case protocol.CallShutdown:
		return nil, s.shutdown()
	}
	return nil, fault.New(fault.Invalid, "call", "%q is not a call of this supervisor", call)
}

func withArgs[A, R any](raw json.RawMessage, call func(A) (R, error)) (any, error) {
	var args A
	if err := json.Unmarshal(raw, &args); err != nil {
		return nil, fault.New(fault.Invalid, "call", "parse the arguments: %v", err)
	}
	return call(args)
}

func (s *supervisor) list() []agent.Sandbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []agent.Sandbox{}
	for _, id := range slices.Sorted(maps.Keys(s.tasks)) {
		all = append(all, s.tasks[id].viewLocked())
	}
	return all
}

// find returns a container of a task, or an error of kind fault.NotFound.
func (s *supervisor) find(taskID, name string) (*task, *container, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tasks[taskID]
	if t == nil {
		return nil, nil, fault.New(fault.NotFound, "task", "%s was not created on this node, or has been removed", taskID)
	}
	for _, c := range t.containers {
		if c.spec.Name == name {
			return t, c, nil
		}
	}
	return nil, nil, fault.New(fault.NotFound, "container", "task %s has no container %q", taskID, name)
}

// setHealth records the verdict of the server's health checks, which the next server continues from.
func (s *supervisor) setHealth(a protocol.HealthArgs) error {
	t, c, err := s.find(a.TaskID, a.Container)
	if err != nil {
		return err
	}
	if a.Health == agent.HealthHealthy {
		// A wildcard listener passes its health check too. Without this scan, clients would reach it until the next one.
		s.killWildcards(extraScan)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !c.record.Status.Running() || c.killReason != "" {
		return nil
	}
	return s.changeLocked(t, c, func(r *record) {
		r.Status.Health = a.Health
		r.Status.HealthOutput = a.Output
	})
}

// shutdown removes all tasks in parallel; reply ends the supervisor once the reply is sent.
func (s *supervisor) shutdown() error {
	s.mu.Lock()
	var errs []error
	var removals sync.WaitGroup
	var errsMu sync.Mutex
	for _, t := range s.tasks {
		removals.Go(func() {
			err := s.remove(t)
			errsMu.Lock()
			defer errsMu.Unlock()
			errs = append(errs, err)
		})
	}
	s.mu.Unlock()
	removals.Wait()
	return errors.Join(errs...)
}
