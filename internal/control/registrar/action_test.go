package registrar

import (
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/task"
)

func TestNextAction(t *testing.T) {
	ended := time.Now()
	for _, tc := range []struct {
		name              string
		registration      task.Registration
		state             task.State
		stopCode          task.StopCode // empty: the task is to run
		ended             bool
		awaitsReplacement bool
		drained           bool
		want              action
	}{
		{name: "pending", state: task.Pending, want: doNothing},
		{name: "activating", state: task.Activating, want: registerInstance},
		{name: "running", registration: task.Registered, state: task.Running, want: updateHealth},

		{name: "stopped before it was registered",
			state: task.Pending, stopCode: task.UserInitiated, want: deregisterInstance},
		{name: "stopped",
			registration: task.Registered, state: task.Running, stopCode: task.UserInitiated, want: drainInstance},
		{name: "stopped, but awaits its replacement", registration: task.Registered, state: task.Deactivating,
			stopCode: task.UserInitiated, awaitsReplacement: true, want: updateHealth},
		{name: "draining",
			registration: task.Draining, state: task.Deactivating, stopCode: task.UserInitiated, want: doNothing},
		{name: "drained", registration: task.Draining, state: task.Deactivating,
			stopCode: task.UserInitiated, drained: true, want: deregisterInstance},
		{name: "released", registration: task.Released, state: task.Stopping, stopCode: task.UserInitiated,
			want: doNothing},

		{name: "exited", registration: task.Registered, state: task.Running,
			stopCode: task.EssentialContainerExited, want: deregisterInstance},
		{name: "exited while draining", registration: task.Draining, state: task.Deactivating,
			stopCode: task.UserInitiated, ended: true, want: deregisterInstance},
		{name: "failed to start", registration: task.Registered, state: task.Activating,
			stopCode: task.TaskFailedToStart, want: deregisterInstance},
	} {
		t.Run(tc.name, func(t *testing.T) {
			row := &task.Task{
				Desired: task.DesiredRunning, Registration: tc.registration, Observed: task.Observed{State: tc.state},
			}
			if tc.stopCode != "" {
				row.Desired, row.StopCode = task.DesiredStopped, tc.stopCode
			}
			if tc.ended {
				row.Observed.EndedAt = &ended
			}
			if got := nextAction(row, tc.awaitsReplacement, tc.drained); got != tc.want {
				t.Errorf("nextAction = %v, want %v", got, tc.want)
			}
		})
	}
}

// String names an action in test failures.
func (a action) String() string {
	return [...]string{"do nothing", "register", "update health", "drain", "deregister"}[a]
}
