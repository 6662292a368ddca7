package task

import (
	"errors"
	"time"

	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// The bounds of how long one call protects a task, and the time where it says nothing (ECS API Reference,
// UpdateTaskProtection).
const (
	MinProtection     = time.Minute
	MaxProtection     = 2880 * time.Minute
	DefaultProtection = 120 * time.Minute
)

// Protected reports whether the task is kept from scale-in and from being replaced by a deployment.
func (t *Task) Protected(now time.Time) bool {
	return t.ProtectedUntil != nil && now.Before(*t.ProtectedUntil)
}

// Protect protects a service's task for a time that begins now, whatever was set before; 0 ends the
// protection. What it refuses, ProtectionFailure puts into ECS's words.
func Protect(tx *store.Tx, ref Ref, d time.Duration, now time.Time) (*Task, error) {
	t, err := Protectable(tx, ref)
	if err != nil {
		return nil, err
	}
	var until *time.Time
	if d > 0 {
		svc, ok := FindService(tx, t.ServiceRef())
		if !ok || crowded(tx, svc, t, now) {
			return nil, fault.New(fault.InUse, protection, "The number of protected tasks would be more than the desired count of "+
				"tasks of the service. Unset the protection of other tasks or wait until it expires.")
		}
		end := now.Add(d)
		until = &end
	}
	next := *t
	next.ProtectedUntil = until
	next.Version++
	tasks.Put(tx, next.Key(), &next)
	return &next, nil
}

// crowded reports whether as many tasks of the service as it wants are protected beside t: with one more, no
// deployment and no scale-in could end. The other tasks are not compared at commit, so that a service of any
// size fits into a transaction; two calls at once may protect one too many, and each will expire.
func crowded(tx *store.Tx, svc *Service, t *Task, now time.Time) bool {
	n := 0
	for _, other := range TasksOf(tx.Snapshot(), svc.Ref()) {
		if other.ID != t.ID && other.Live() && other.Protected(now) {
			n++
		}
	}
	return n >= svc.DesiredCount
}

// Protectable finds a task that can be protected: one of a service, not yet told to stop.
func Protectable(r store.Reader, ref Ref) (*Task, error) {
	t, err := GetTask(r, ref)
	switch {
	case err != nil:
		return nil, err
	case t.Service == "":
		return nil, fault.New(fault.Invalid, protection, "The task does not belong to a service.")
	case !t.Live():
		return nil, fault.New(fault.Invalid, protection, "The task has stopped or is stopping.")
	}
	return t, nil
}

// protection is the noun of its failures.
const protection = "task protection"

// ProtectionFailure is the reason that ECS gives for what Protect and Protectable refuse; "" for any other
// error.
func ProtectionFailure(err error) string {
	var f *fault.Error
	switch {
	case !errors.As(err, &f):
		return ""
	case f.Kind == fault.NotFound && f.What == "task":
		return "MISSING"
	case f.Kind == fault.Invalid && f.What == protection:
		return "TASK_NOT_VALID"
	case f.Kind == fault.InUse && f.What == protection:
		return "DEPLOYMENT_BLOCKED"
	}
	return ""
}
