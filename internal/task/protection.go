package task

import (
	"errors"
	"time"

	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// The bounds and the default of the time for which one call protects a task (ECS API Reference, UpdateTaskProtection).
const (
	MinProtection     = time.Minute
	MaxProtection     = 2880 * time.Minute
	DefaultProtection = 120 * time.Minute
)

// Protected reports whether scale-in and deployments must not stop the task.
func (t *Task) Protected(now time.Time) bool {
	return t.ProtectedUntil != nil && now.Before(*t.ProtectedUntil)
}

// Protect protects a service's task for the duration d from now on; 0 ends the protection. It replaces an earlier
// protection. [ProtectionFailure] translates its errors.
func Protect(tx *store.Tx, ref Ref, d time.Duration, now time.Time) (*Task, error) {
	t, err := Protectable(tx, ref)
	if err != nil {
		return nil, err
	}
	var until *time.Time
	if d > 0 {
		svc, ok := FindService(tx, t.ServiceRef())
		if !ok || crowded(tx, svc, t, now) {
			return nil, fault.New(fault.InUse, protection,
				"The number of protected tasks would be more than the desired count of "+
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

// crowded reports whether the service already has as many protected tasks, without t, as its desired count. With one
// more, deployments and scale-in could not complete. The other tasks are not compared at commit, so that a service of
// any size fits into a transaction: two concurrent calls may protect one task too many, until a protection expires.
func crowded(tx *store.Tx, svc *Service, t *Task, now time.Time) bool {
	n := 0
	for _, other := range TasksOf(tx.Snapshot(), svc.Ref()) {
		if other.ID != t.ID && other.Live() && other.Protected(now) {
			n++
		}
	}
	return n >= svc.DesiredCount
}

// Protectable returns a task that can be protected: it belongs to a service and is not stopping.
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

// protection is the noun in the errors of Protect and Protectable.
const protection = "task protection"

// ProtectionFailure returns the reason that ECS gives for an error of Protect or Protectable, "" for other errors.
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
