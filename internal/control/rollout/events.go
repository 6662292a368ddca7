package rollout

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// The events, in ECS's words where ECS has some (ECS Developer Guide, "Amazon ECS service event messages").
const (
	startedTasks  = "has started %d tasks: %s."
	stoppedTasks  = "has stopped %d running tasks: %s."
	completed     = "(deployment %s) deployment completed."
	steadyState   = "has reached a steady state."
	failedToStart = "(deployment %s) deployment failed: tasks failed to start."
	rollingBack   = "rolling back to deployment %s."
	failedHealth  = "(task %s) failed container health checks."
	taskFailed    = "(task %s) failed: %s" // ECS says nothing of a single failure
	unableToStart = "is unable to consistently start tasks successfully. For more information, see the Troubleshooting section of the " +
		"Amazon ECS Developer Guide."
	blockedByBounds = "was unable to stop or start tasks during a deployment because of the service deployment configuration. " +
		"Update the minimumHealthyPercent or maximumPercent value and try again."
	blockedByProtection = "was unable to reach steady state because task set (%s) was unable to scale in. " +
		"Reason: The number of protected tasks are more than the desired count of tasks."
)

// repeatAfter is when ECS says again what has not changed.
const repeatAfter = 6 * time.Hour

// events writes those of one pass.
type events struct {
	tx  *store.Tx
	svc *task.Service
	now time.Time
}

func (e *events) add(format string, args ...any) {
	task.Record(e.tx, e.svc, uuid.NewString(), fmt.Sprintf(format, args...), e.now)
	e.now = e.now.Add(time.Nanosecond) // they are read in the order of their times
}

// once adds an event unless it was said less than repeatAfter ago and nothing has been settled since.
func (e *events) once(message string) {
	for _, said := range task.Events(e.tx.Snapshot(), e.svc) {
		switch {
		case strings.HasSuffix(said.Message, message) && e.now.Sub(said.Created) < repeatAfter:
			return
		case strings.HasSuffix(said.Message, steadyState):
			e.add("%s", message)
			return
		}
	}
	e.add("%s", message)
}

// steady adds that nothing is left to do, unless that was the last thing said, less than repeatAfter ago.
func (e *events) steady() {
	last, ok := task.LastEvent(e.tx.Snapshot(), e.svc)
	if ok && strings.HasSuffix(last.Message, steadyState) && e.now.Sub(last.Created) < repeatAfter {
		return
	}
	e.add(steadyState)
}

func (e *events) startedAndStopped(started, stopped []string) {
	if len(started) > 0 {
		e.add(startedTasks, len(started), list(started))
	}
	if len(stopped) > 0 {
		e.add(stoppedTasks, len(stopped), list(stopped))
	}
}

func list(ids []string) string {
	var b strings.Builder
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString("(task " + id + ")")
	}
	return b.String()
}

// cause is why a task failed, for people: its reason, and how its containers ended of themselves.
func cause(t *task.Task) string {
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
