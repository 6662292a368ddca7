package registrar

import (
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/task"
)

func TestNext(t *testing.T) {
	ended := time.Now()
	names := [...]string{"nothing", "register", "health", "drain", "deregister"}
	for _, tc := range []struct {
		name         string
		registration task.Registration
		state        task.State
		stop         task.StopCode // the stop code; empty: it shall run
		ended        bool
		needed       bool
		drained      bool
		want         string
	}{
		{name: "not started", state: task.Pending, want: "nothing"},
		{name: "started", state: task.Activating, want: "register"},
		{name: "runs", registration: task.Registered, state: task.Running, want: "health"},

		{name: "stopped before it was registered", state: task.Pending, stop: task.UserInitiated, want: "deregister"},
		{name: "told to stop: out of the answers first", registration: task.Registered, state: task.Running, stop: task.UserInitiated, want: "drain"},
		{name: "told to stop, but the only answer", registration: task.Registered, state: task.Deactivating, stop: task.UserInitiated, needed: true, want: "health"},
		{name: "clients may still hold its address", registration: task.Draining, state: task.Deactivating, stop: task.UserInitiated, want: "nothing"},
		{name: "no client holds it any more", registration: task.Draining, state: task.Deactivating, stop: task.UserInitiated, drained: true, want: "deregister"},
		{name: "released", registration: task.Released, state: task.Stopping, stop: task.UserInitiated, want: "nothing"},

		{name: "died: nobody answers there", registration: task.Registered, state: task.Running, stop: task.EssentialContainerExited, want: "deregister"},
		{name: "died while draining", registration: task.Draining, state: task.Deactivating, stop: task.UserInitiated, ended: true, want: "deregister"},
		{name: "never ran", registration: task.Registered, state: task.Activating, stop: task.TaskFailedToStart, want: "deregister"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			row := &task.Task{Desired: task.DesiredRunning, Registration: tc.registration, Observed: task.Observed{State: tc.state}}
			if tc.stop != "" {
				row.Desired, row.StopCode = task.DesiredStopped, tc.stop
			}
			if tc.ended {
				row.Observed.EndedAt = &ended
			}
			if got := names[Next(row, tc.needed, tc.drained)]; got != tc.want {
				t.Errorf("Next = %s, want %s", got, tc.want)
			}
		})
	}
}

// TestPort holds which of a task's ports its instance answers at.
func TestPort(t *testing.T) {
	row := &task.Task{Observed: task.Observed{Containers: []task.Container{
		{Name: "side", Bindings: []task.Binding{{ContainerPort: 9000, HostPort: 9000}}},
		{Name: "main", Bindings: []task.Binding{{ContainerPort: 80, HostPort: 50080}, {ContainerPort: 81, HostPort: 50081}}},
	}}}
	for _, tc := range []struct {
		registry task.Registry
		want     int
	}{
		{task.Registry{Port: 8080}, 8080},
		{task.Registry{ContainerName: "main", ContainerPort: 81}, 50081},
		{task.Registry{ContainerName: "main", ContainerPort: 82}, 0},
		{task.Registry{}, 9000}, // the first it has
	} {
		if got := port(row, tc.registry); got != tc.want {
			t.Errorf("%+v: port %d, want %d", tc.registry, got, tc.want)
		}
	}
}
