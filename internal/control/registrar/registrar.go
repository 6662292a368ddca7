// Package registrar keeps service discovery equal to what the tasks do: a task that runs becomes an instance
// of its Cloud Map service, its health becomes the instance's, and a task that shall stop leaves the answers
// before it is told to.
//
// A task's [task.Registration] and the instance's row change in one transaction, so neither is ever there
// without the other: no zombie registrations. What to do is [Next]'s to decide, a pure function. A task that
// drains is let go when every node has given its clearance (package drain), or is gone for so long that
// nothing it has handed out can still be in use ([Clearing]).
package registrar

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/control/loop"
	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// Move is the next change of a task's registration.
type Move int

// The moves.
const (
	Nothing    Move = iota
	Register        // add the instance
	Health          // tell the instance how the task is
	Drain           // take it out of the answers, and begin to wait
	Deregister      // remove it; the task may be told to stop
)

// Next decides the next move of a task with registries. needed says that a task that shall stop stays in the
// answers for now ([Needed]), drained that no client that honours TTLs holds the address any more.
func Next(t *task.Task, needed, drained bool) Move {
	stop := t.Desired == task.DesiredStopped || t.Observed.State >= task.Stopping
	switch t.Registration {
	case task.Unregistered:
		switch {
		case stop:
			return Deregister // nothing is there: it may stop at once
		case t.Observed.State >= task.Activating:
			return Register
		}
	case task.Registered:
		switch {
		case stop && gone(t):
			return Deregister // nobody answers at the address: the sooner the better
		case stop && !needed:
			return Drain
		}
		return Health
	case task.Draining:
		if drained || gone(t) {
			return Deregister
		}
	}
	return Nothing
}

// gone reports whether the task ended of itself: what it was registered for does not answer any more.
func gone(t *task.Task) bool {
	return t.Observed.EndedAt != nil || t.StopCode == task.EssentialContainerExited || t.StopCode == task.TaskFailedToStart
}

// register is the loop's state.
type register struct {
	db   *store.Store
	zone string
	cap  time.Duration

	mu sync.Mutex
	// drains is when each task was first seen to drain, by its key; needed is the key of its service, of tasks that stay
	// until they are replaced.
	drains map[string]time.Time
	needed map[string]string
	// lost is when each node that is gone was first seen to be. As all times here it is by the monotonic clock of this
	// process, so it begins anew after a restart and differs on another leader: later, never earlier.
	lost map[string]time.Time
}

// New makes the loop and marks tasks with registries as they, their instances, their clearances or the nodes change.
// zone is the availability zone that instances carry; drainCap bounds how long a task waits for the answers
// that name it to expire.
func New(db *store.Store, log *slog.Logger, zone string, drainCap time.Duration) *loop.Loop {
	r := &register{db: db, zone: zone, cap: drainCap, drains: map[string]time.Time{}, needed: map[string]string{}, lost: map[string]time.Time{}}
	l := loop.New("register", 16, log, r.reconcile)
	db.Follow(func(c store.Change) {
		for _, row := range c.Rows {
			switch v := row.Row().(type) {
			case *task.Task:
				if len(v.Registries) > 0 && (v.Registration != task.Released || row.New == nil) {
					l.Mark(v.Key())
				}
				for _, key := range r.replacing(v) {
					l.Mark(key)
				}
			case *registry.Instance:
				if v.Task != "" {
					l.Mark(v.Task)
				}
			case *task.Clearance:
				l.Mark(v.Task)
			case *task.Alive: // a node came or went: what waits for it looks again
				if name, ok := task.AliveNode(row.Key); ok {
					r.sawNode(name, row.New != nil)
				}
				for _, key := range r.waiting() {
					l.Mark(key)
				}
			}
		}
	})
	for _, n := range task.Nodes(db.Snapshot()) {
		if !task.Live(db.Snapshot(), n.Name) {
			r.sawNode(n.Name, false)
		}
	}
	return l
}

// reconcile makes a task's next move.
func (r *register) reconcile(ctx context.Context, key string) (time.Duration, error) {
	r.follow(r.db.Snapshot(), key)
	return store.Update(ctx, r.db, func(tx *store.Tx) (time.Duration, error) {
		t, ok := task.FindByKey(tx, key)
		if !ok || len(t.Registries) == 0 {
			return 0, nil
		}
		now := time.Now()
		needed, left := r.neededFor(tx.Snapshot(), t, now), r.left(tx.Snapshot(), t, now)
		return max(needed, left), r.move(tx, t, Next(t, needed > 0, left <= 0), now)
	})
}

// follow begins, or ends, to mark a task for what happens to other rows. It comes before the state is read that
// decides about the task, so that nothing happens unnoticed in between; a change of the task's own row marks it
// in any case.
func (r *register) follow(s *store.Snapshot, key string) {
	t, ok := task.FindByKey(s, key)
	r.mu.Lock()
	defer r.mu.Unlock()
	if ok && t.Registration == task.Draining {
		if r.drains[key].IsZero() {
			r.drains[key] = time.Now()
		}
	} else {
		delete(r.drains, key)
	}
	if ok && t.Registration == task.Registered && t.StopCode == task.UserInitiated {
		r.needed[key] = t.ServiceKey()
	} else {
		delete(r.needed, key)
	}
}

// neededFor is how long a task that shall stop stays in the answers at the most, until it is replaced.
func (r *register) neededFor(s *store.Snapshot, t *task.Task, now time.Time) time.Duration {
	svc, ok := task.FindServiceByKey(s, t.ServiceKey())
	if !ok || t.Registration != task.Registered || t.StopCode != task.UserInitiated {
		return 0
	}
	return Needed(t, svc, task.TasksOf(s, svc.Ref()), now)
}

// replacing are the keys of the tasks that a change of one of their service may relieve.
func (r *register) replacing(t *task.Task) (keys []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, service := range r.needed {
		if service == t.ServiceKey() && key != t.Key() {
			keys = append(keys, key)
		}
	}
	return keys
}

// left is how long a draining task still waits at the most, 0 when it need not. Each live node's clearance
// marks the task again.
func (r *register) left(s *store.Snapshot, t *task.Task, now time.Time) time.Duration {
	if t.Registration != task.Draining {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	since := r.drains[t.Key()]
	if since.IsZero() { // it began to drain since the last look, which marks it once more
		return r.cap
	}
	c := Clearing{Cap: since.Add(r.cap), TTL: longestTTL(s, t)}
	live := map[string]bool{}
	for _, n := range task.LiveNodes(s) {
		live[n.Name] = true
	}
	for _, n := range task.Nodes(s) {
		switch {
		case task.HasClearance(s, t.Ref(), n.Name):
		case live[n.Name]:
			c.Waiting = true
		default:
			if r.lost[n.Name].IsZero() {
				r.lost[n.Name] = now
			}
			c.Lost = append(c.Lost, r.lost[n.Name])
		}
	}
	return c.Left(now)
}

// longestTTL is the greatest TTL with which the task can have been answered.
func longestTTL(s *store.Snapshot, t *task.Task) time.Duration {
	ttl := directory.DefaultDiscoverTTL * time.Second
	for _, reg := range t.Registries {
		if svc, err := registry.GetService(s, t.Scope(), reg.ServiceID); err == nil {
			ttl = max(ttl, svc.LongestTTL())
		}
	}
	return ttl
}

// sawNode notes since when a node is gone.
func (r *register) sawNode(name string, live bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if live {
		delete(r.lost, name)
	} else if r.lost[name].IsZero() {
		r.lost[name] = time.Now()
	}
}

// waiting are the keys of the tasks that drain.
func (r *register) waiting() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.drains))
}

// move writes one move: the instances' rows and the task's.
func (r *register) move(tx *store.Tx, t *task.Task, m Move, now time.Time) error {
	if m == Nothing {
		return nil
	}
	sc := t.Scope()
	for _, reg := range t.Registries {
		var err error
		switch m {
		case Register:
			err = r.register(tx, sc, t, reg, now)
		case Health:
			err = setHealth(tx, sc, t, reg, now)
		case Drain:
			err = ignoreMissing(registry.Drain(tx, sc, reg.ServiceID, string(t.ID), now))
		case Deregister:
			if t.Registration != task.Unregistered {
				_, err = registry.DeregisterInstance(tx, sc, reg.ServiceID, string(t.ID), now)
				err = ignoreMissing(err)
			}
		}
		if err != nil {
			return err
		}
	}
	next := map[Move]task.Registration{Register: task.Registered, Health: task.Registered, Drain: task.Draining, Deregister: task.Released}[m]
	task.SetRegistration(tx, t.Ref(), next, next == task.Registered && answered(tx, sc, t))
	return nil
}

// answered reports whether every registry of a task answers with it.
func answered(tx *store.Tx, sc arn.Scope, t *task.Task) bool {
	return !slices.ContainsFunc(t.Registries, func(reg task.Registry) bool {
		return !registry.Answered(tx, sc, reg.ServiceID, string(t.ID))
	})
}

// register adds a task's instance. A registry that refuses it (its Cloud Map service is gone, or wants an
// address the task has not) stops the task with the reason: it can never be found. What others have taken in
// by then is deregistered as the task ends.
func (r *register) register(tx *store.Tx, sc arn.Scope, t *task.Task, reg task.Registry, now time.Time) error {
	spec := registry.InstanceSpec{ServiceID: reg.ServiceID, ID: string(t.ID), Attributes: r.attributes(t, reg), Task: t.Key(), Unready: t.Checked}
	if svc, err := registry.GetService(tx, sc, reg.ServiceID); err == nil && svc.CustomHealth {
		spec.Attributes[registry.AttrInitHealth] = string(health(t))
	}
	op, err := registry.RegisterInstance(tx, sc, spec, now)
	if err == nil && op.ErrorCode != "" {
		err = fault.New(fault.Invalid, "instance", "%s", op.ErrorMessage)
	}
	if fault.Is(err, fault.Invalid) || fault.Is(err, fault.NotFound) {
		reason := fmt.Sprintf("ResourceInitializationError: the task cannot be registered in %s: %v", reg.ServiceID, err)
		_, _, err := task.Stop(tx, t.Ref(), task.StopCause{Code: task.TaskFailedToStart, Reason: reason}, now)
		return err
	}
	if err != nil {
		return err
	}
	return setHealth(tx, sc, t, reg, now)
}

// health is what the instance of a task is: one whose health check has not spoken yet is not healthy.
func health(t *task.Task) registry.Health {
	if !t.Checked || t.Observed.Health == task.HealthHealthy {
		return registry.Healthy
	}
	return registry.Unhealthy
}

func setHealth(tx *store.Tx, sc arn.Scope, t *task.Task, reg task.Registry, now time.Time) error {
	return ignoreMissing(registry.SetTaskHealth(tx, sc, reg.ServiceID, string(t.ID), health(t), now))
}

// ignoreMissing passes over an instance that somebody deregistered by hand.
func ignoreMissing(err error) error {
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

// attributes are those ECS gives a task's instance (ECS Developer Guide, "Service discovery").
func (r *register) attributes(t *task.Task, reg task.Registry) map[string]string {
	a := map[string]string{
		"AVAILABILITY_ZONE":          t.Region + r.zone,
		"REGION":                     t.Region,
		"ECS_SERVICE_NAME":           t.Service,
		"ECS_CLUSTER_NAME":           t.Cluster,
		"ECS_TASK_DEFINITION_FAMILY": t.Family,
	}
	if ip := t.Observed.Address; ip.Is4() {
		a[registry.AttrIPv4] = ip.String()
	} else if ip.Is6() {
		a[registry.AttrIPv6] = ip.String()
	}
	if ip := t.Observed.Address6; ip.IsValid() {
		a[registry.AttrIPv6] = ip.String()
	}
	if port := port(t, reg); port != 0 {
		a[registry.AttrPort] = strconv.Itoa(port)
	}
	return a
}

// port is the one the instance answers at: the registry's own, the host port bound for its container port,
// or else the task's first.
func port(t *task.Task, reg task.Registry) int {
	if reg.Port != 0 {
		return reg.Port
	}
	for _, c := range t.Observed.Containers {
		for _, b := range c.Bindings {
			if reg.ContainerName == "" || c.Name == reg.ContainerName && b.ContainerPort == reg.ContainerPort {
				return b.HostPort
			}
		}
	}
	return 0
}
