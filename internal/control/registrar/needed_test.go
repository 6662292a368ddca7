package registrar

import (
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/task"
)

// TestNeeded: the service's other tasks are a letter each: a answered and healthy, p on its way, s told to stop by
// hand and still answered, d draining, x ended.
func TestNeeded(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct {
		name    string
		others  string
		desired int
		status  string
		max     int           // percent; 0 is 200
		ago     time.Duration // since StopTask
		silent  bool          // the task is not answered
		want    time.Duration
	}{
		{name: "alone, and a replacement will be started", desired: 1, want: patience},
		{name: "alone, the replacement is on its way", others: "p", desired: 1, want: patience},
		{name: "for some time already", others: "p", desired: 1, ago: 20 * time.Second, want: patience - 20*time.Second},
		{name: "the replacement is answered", others: "a", desired: 1, want: 0},
		{name: "of several, one goes on", others: "aaa", desired: 4, want: 0},
		{name: "of several, all are told to stop", others: "sss", desired: 4, want: patience},
		{name: "the others have left the answers", others: "ddx", desired: 3, want: patience},
		{name: "the replacement does not come", others: "p", desired: 1, ago: time.Hour, want: 0},
		{name: "nobody wants a replacement", desired: 0, want: 0},
		{name: "the service is being deleted", desired: 1, status: task.DrainingStatus, want: 0},
		{name: "no room for a replacement", desired: 1, max: 100, want: 0},
		{name: "no room until another has ended", others: "dx", desired: 1, want: patience},
		{name: "no room, all are told to stop", others: "sss", desired: 4, max: 100, want: 0},
		{name: "no room for more, but one is there already", others: "p", desired: 1, max: 100, want: patience},
		{name: "it was in no answer", desired: 1, silent: true, want: 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			svc := &task.Service{Status: task.Active, DesiredCount: tc.desired, Maximum: 200}
			if tc.status != "" {
				svc.Status = tc.status
			}
			if tc.max != 0 {
				svc.Maximum = tc.max
			}
			at := now.Add(-tc.ago)
			self := &task.Task{
				ID: "self", Desired: task.DesiredStopped, StopCode: task.UserInitiated, StoppingAt: &at, Answered: !tc.silent,
				Registries: []task.Registry{{}}, Registration: task.Registered, Observed: task.Observed{State: task.Running},
			}
			tasks := []*task.Task{self}
			for _, letter := range tc.others {
				o := *self
				o.ID = task.ID(string(letter))
				switch letter {
				case 'a':
					o.Desired, o.Observed.HealthySince = task.DesiredRunning, &at
				case 'p':
					o.Desired, o.Answered, o.Observed.State = task.DesiredRunning, false, task.Pending
				case 'd':
					o.Answered, o.Registration = false, task.Draining
				case 'x':
					o.Answered, o.Registration, o.Observed.State = false, task.Released, task.Stopped
				}
				tasks = append(tasks, &o)
			}
			if got := Needed(self, svc, tasks, now); got != tc.want {
				t.Errorf("needed for %v, want %v", got, tc.want)
			}
		})
	}
}
