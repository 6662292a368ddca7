package registrar

import (
	"time"

	"github.com/bakingclouds/rollcall/internal/task"
)

// patience is how long a task that was stopped by hand stays in the answers for want of another.
const patience = time.Minute

// Needed is for how much longer a task stays in the answers that somebody has stopped by hand (StopTask), 0 if
// it need not: a service's only answer stays until its replacement is answered, so that the name never goes
// dark. It does not stay when nothing will replace it, since the service wants none or has no room for one, when
// it is not answered itself, and never for longer than patience.
func Needed(t *task.Task, svc *task.Service, tasks []*task.Task, now time.Time) time.Duration {
	if svc.Status != task.Active || svc.DesiredCount == 0 || !t.Answered || gone(t) || t.StoppingAt == nil {
		return 0
	}
	// What is on its way out makes room, but for this task and those that stay as it does.
	staying, coming := 1, false
	for _, other := range tasks {
		switch {
		case other.ID == t.ID:
		case other.Serving():
			return 0
		case other.Live():
			coming = true
		case other.Registration == task.Registered:
			staying++
		}
	}
	if room := svc.DesiredCount * svc.Maximum / 100; !coming && staying >= room {
		return 0
	}
	return max(0, t.StoppingAt.Add(patience).Sub(now))
}
