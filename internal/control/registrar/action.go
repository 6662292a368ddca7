package registrar

import "github.com/bakingclouds/rollcall/internal/task"

// action is a change of a task's registration.
type action int

// The actions.
const (
	doNothing          action = iota
	registerInstance          // add the instance
	updateHealth              // set the instance's health to the task's
	drainInstance             // remove the instance from all answers, and start to wait
	deregisterInstance        // delete the instance; the agent may stop the task
)

// nextAction decides the next action for a task with registries. awaitsReplacement reports that a task that is to
// stop stays in the answers for now ([replacementWait]), drained that no client that honors TTLs uses the task's
// address any more ([drainWait]).
func nextAction(t *task.Task, awaitsReplacement, drained bool) action {
	stopping := t.Desired == task.DesiredStopped || t.Observed.State >= task.Stopping
	switch t.Registration {
	case task.Unregistered:
		switch {
		case stopping:
			return deregisterInstance // there is no instance, so the task may stop immediately
		case t.Observed.State >= task.Activating:
			return registerInstance
		}
	case task.Registered:
		switch {
		case stopping && exited(t):
			return deregisterInstance // nothing listens at the address, so the instance leaves without a drain
		case stopping && !awaitsReplacement:
			return drainInstance
		}
		return updateHealth
	case task.Draining:
		if drained || exited(t) {
			return deregisterInstance
		}
	}
	return doNothing
}

// exited reports whether the task ended without being stopped, so that nothing listens at its address any more.
func exited(t *task.Task) bool {
	return t.Observed.EndedAt != nil || t.StopCode == task.EssentialContainerExited ||
		t.StopCode == task.TaskFailedToStart
}
