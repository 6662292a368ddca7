package registrar

import (
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/task"
)

// TestReplacementWait describes the other tasks of the service with a letter each:
//
//	a  is answered and healthy
//	p  is pending
//	s  was stopped with StopTask and is still answered
//	d  is draining
//	x  has stopped
func TestReplacementWait(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct {
		name       string
		others     string
		desired    int
		status     string
		max        int           // percent; 0 means 200
		ago        time.Duration // since StopTask
		unanswered bool
		want       time.Duration
	}{
		{name: "only task", desired: 1, want: maxReplacementWait},
		{name: "the replacement is pending", others: "p", desired: 1, want: maxReplacementWait},
		{name: "stopped 20 s ago", others: "p", desired: 1, ago: 20 * time.Second,
			want: maxReplacementWait - 20*time.Second},
		{name: "the replacement is answered", others: "a", desired: 1, want: 0},
		{name: "others serve", others: "aaa", desired: 4, want: 0},
		{name: "all tasks are stopped", others: "sss", desired: 4, want: maxReplacementWait},
		{name: "the others are draining or stopped", others: "ddx", desired: 3, want: maxReplacementWait},
		{name: "stopped an hour ago", others: "p", desired: 1, ago: time.Hour, want: 0},
		{name: "desired count 0", desired: 0, want: 0},
		{name: "service is being deleted", desired: 1, status: task.DrainingStatus, want: 0},
		{name: "no room for a replacement", desired: 1, max: 100, want: 0},
		{name: "stopping tasks make room", others: "dx", desired: 1, want: maxReplacementWait},
		{name: "no room, all tasks are stopped", others: "sss", desired: 4, max: 100, want: 0},
		{name: "no room, but a replacement is pending", others: "p", desired: 1, max: 100, want: maxReplacementWait},
		{name: "not answered", desired: 1, unanswered: true, want: 0},
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
				ID: "self", Desired: task.DesiredStopped, StopCode: task.UserInitiated, StoppingAt: &at,
				Answered: !tc.unanswered, Registries: []task.Registry{{}}, Registration: task.Registered,
				Observed: task.Observed{State: task.Running},
			}
			tasks := []*task.Task{self}
			for _, letter := range tc.others {
				o := *self
				o.ID = task.ID(letter)
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
			if got := replacementWait(self, svc, tasks, now); got != tc.want {
				t.Errorf("replacementWait = %v, want %v", got, tc.want)
			}
		})
	}
}
