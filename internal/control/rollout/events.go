package rollout

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// The events of a service, in ECS's words except where noted (ECS Developer Guide, "Amazon ECS service event
// messages").
const (
	startedTasks       = "has started %d tasks: %s."
	stoppedTasks       = "has stopped %d running tasks: %s."
	completed          = "(deployment %s) deployment completed."
	steadyState        = "has reached a steady state."
	failedToStart      = "(deployment %s) deployment failed: tasks failed to start."
	rollingBack        = "rolling back to deployment %s."
	failedHealth       = "(task %s) failed container health checks."
	taskFailed         = "(task %s) failed: %s" // not in ECS, which has no event for a single failure
	unableToStartTasks = "is unable to consistently start tasks successfully. For more information, " +
		"see the Troubleshooting section of the Amazon ECS Developer Guide."
	blockedByBounds = "was unable to stop or start tasks during a deployment because of the service deployment " +
		"configuration. Update the minimumHealthyPercent or maximumPercent value and try again."
	blockedByProtection = "was unable to reach steady state because task set (%s) was unable to scale in. " +
		"Reason: The number of protected tasks are more than the desired count of tasks."
)

// repeatAfter is the interval after which ECS repeats the event of a state that has not changed.
const repeatAfter = 6 * time.Hour

// eventWriter adds events to a service's history. It draws their ids from random.
type eventWriter struct {
	tx     *store.Tx
	svc    *task.Service
	random io.Reader
	now    time.Time
}

func (w *eventWriter) add(format string, args ...any) {
	id := uuid.Must(uuid.NewRandomFromReader(w.random)).String()
	task.AddEvent(w.tx, w.svc, task.Event{ID: id, Created: w.now, Message: fmt.Sprintf(format, args...)})
	w.now = w.now.Add(time.Nanosecond) // the history is ordered by time
}

// addOnce adds an event unless the history already has it and [isRepeat] finds that to be enough.
func (w *eventWriter) addOnce(message string) {
	if !isRepeat(task.Events(w.tx.Snapshot(), w.svc), message, w.now) {
		w.add("%s", message)
	}
}

// isRepeat reports whether an event would only repeat the history, which has the newest event first: it was added less
// than repeatAfter ago, and the service has not reached a steady state since.
func isRepeat(history []*task.Event, message string, now time.Time) bool {
	for _, e := range history {
		switch {
		case strings.HasSuffix(e.Message, message) && now.Sub(e.Created) < repeatAfter:
			return true
		case strings.HasSuffix(e.Message, steadyState):
			return false
		}
	}
	return false
}

// addSteadyState adds the event of a steady state, unless it is already the newest one and younger than repeatAfter.
func (w *eventWriter) addSteadyState() {
	last, ok := task.LastEvent(w.tx.Snapshot(), w.svc)
	if ok && strings.HasSuffix(last.Message, steadyState) && w.now.Sub(last.Created) < repeatAfter {
		return
	}
	w.add(steadyState)
}

func (w *eventWriter) addStartedAndStopped(started, stopped []task.ID) {
	if len(started) > 0 {
		w.add(startedTasks, len(started), listTasks(started))
	}
	if len(stopped) > 0 {
		w.add(stoppedTasks, len(stopped), listTasks(stopped))
	}
}

// listTasks formats the ids of tasks as ECS does.
func listTasks(ids []task.ID) string {
	var b strings.Builder
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString("(task " + string(id) + ")")
	}
	return b.String()
}

// failureText describes the failure of a task to people: the task's stopped reason, and how its containers ended.
func failureText(t *task.Task) string {
	text := t.StoppedReason
	for _, c := range t.Observed.Containers {
		switch {
		case c.Reason != "" && c.Reason != t.StoppedReason:
			text += fmt.Sprintf("; container %s: %s", c.Name, c.Reason)
		case c.ExitCode != nil && t.StopCode == task.EssentialContainerExited:
			text += fmt.Sprintf("; container %s: exit code %d", c.Name, *c.ExitCode)
		}
	}
	return text
}
