package registrar

import (
	"time"

	"github.com/bakingclouds/rollcall/internal/task"
)

// maxReplacementWait is the longest time for which a task stays in the answers after StopTask.
const maxReplacementWait = time.Minute

// replacementWait returns the longest time for which a task that StopTask has stopped still stays in the answers. If
// it is the only task that its service is answered with, it stays until its replacement is answered, so that the
// service's name never becomes empty. It returns 0 if another task serves, if the task itself is not answered, and if
// nothing will replace the task: the service has a desired count of 0 or no room for another task. tasks are all
// tasks of the service.
func replacementWait(t *task.Task, svc *task.Service, tasks []*task.Task, now time.Time) time.Duration {
	if svc.Status != task.Active || svc.DesiredCount == 0 || !t.Answered || exited(t) || t.StoppingAt == nil {
		return 0
	}
	// A replacement starts when there is room for it. Tasks that are stopping make room, except this one and those that
	// wait in the answers as it does.
	waiting, pending := 1, false
	for _, other := range tasks {
		switch {
		case other.ID == t.ID:
		case other.Serving():
			return 0
		case other.Live():
			pending = true
		case other.Registration == task.Registered:
			waiting++
		}
	}
	if room := svc.DesiredCount * svc.Maximum / 100; !pending && waiting >= room {
		return 0
	}
	return max(0, t.StoppingAt.Add(maxReplacementWait).Sub(now))
}
