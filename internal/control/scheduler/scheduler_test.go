package scheduler

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/placement"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
	"github.com/bakingclouds/rollcall/internal/task"
)

var scope = arn.Scope{Account: "1", Region: "r"}

func ref(id string) task.Ref { return task.Ref{Scope: scope, Cluster: "c", ID: task.ID(id)} }

func serviceRef(name string) task.ServiceRef {
	return task.ServiceRef{Scope: scope, Cluster: "c", Name: name}
}

// world runs the loop on a real store.
type world struct {
	t       *testing.T
	db      *store.Store
	changed chan struct{}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, db: storetest.Open(t, task.Schema()...), changed: make(chan struct{}, 1)}
	w.db.Follow(func(store.Change) {
		select {
		case w.changed <- struct{}{}:
		default:
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = New(w.db, slog.New(slog.DiscardHandler)).Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

func (w *world) write(fn func(tx *store.Tx)) {
	w.t.Helper()
	_, err := store.Update(w.t.Context(), w.db, func(tx *store.Tx) (struct{}, error) { fn(tx); return struct{}{}, nil })
	if err != nil {
		w.t.Fatal(err)
	}
}

// addNode adds a live node.
func (w *world) addNode(name string, memory int) {
	w.t.Helper()
	leave, err := task.KeepAlive(w.t.Context(), w.db, name)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(leave)
	w.write(func(tx *store.Tx) { task.PutNode(tx, task.Node{Name: name, Runtime: "process", Memory: memory}) })
}

// createTask writes a task of a service that waits for a node.
func createTask(tx *store.Tx, service string, id task.ID) {
	task.CreateTask(tx, task.Task{
		Account: scope.Account, Region: scope.Region, Cluster: "c", ID: id,
		Service: service, Family: service, Revision: 1, Created: time.Now(),
		Observed: task.Observed{State: task.Provisioning},
	})
}

// createService writes a service whose tasks need 512 MiB each, and the given tasks.
func (w *world) createService(name string, ids ...task.ID) {
	w.t.Helper()
	w.write(func(tx *store.Tx) {
		def := task.RegisterDefinition(tx, scope, task.Definition{Family: name, Memory: 512}, time.Now())
		d := task.Deployment{ID: task.NewDeploymentID(), Family: name, Revision: def.Revision}
		d = task.NewDeployment(d, time.Now())
		task.PutService(tx, task.Service{
			Account: scope.Account, Region: scope.Region, Cluster: "c", Name: name, Status: task.Active,
			Deployments: []task.Deployment{d},
		})
	})
	for _, id := range ids {
		w.write(func(tx *store.Tx) { createTask(tx, name, id) })
	}
}

// waitFor waits until a condition holds.
func (w *world) waitFor(what string, condition func(*store.Snapshot) bool) {
	w.t.Helper()
	deadline := time.After(time.Minute)
	for !condition(w.db.Snapshot()) {
		select {
		case <-w.changed:
		case <-deadline:
			w.t.Fatalf("timed out after a minute waiting for: %s", what)
		}
	}
}

func (w *world) isPlaced(id string) func(*store.Snapshot) bool {
	return func(s *store.Snapshot) bool {
		t, err := task.GetTask(s, ref(id))
		return err == nil && t.Node != ""
	}
}

// events returns the events of a service, the oldest first.
func (w *world) events(name string) []string {
	svc, _ := task.FindService(w.db.Snapshot(), serviceRef(name))
	var messages []string
	for _, e := range task.Events(w.db.Snapshot(), svc) {
		messages = append([]string{e.Message}, messages...)
	}
	return messages
}

func (w *world) hasEvent(name string) func(*store.Snapshot) bool {
	return func(*store.Snapshot) bool { return len(w.events(name)) > 0 }
}

// TestWaitingTasks checks that tasks without room wait, that an event reports each cause once, and that they are placed
// when a node is added or another task ends.
func TestWaitingTasks(t *testing.T) {
	w := newWorld(t)
	w.createService("web", "1")
	w.waitFor("the event that there is no node", w.hasEvent("web"))
	w.addNode("a", 1024)
	w.waitFor("task 1 on the new node", w.isPlaced("1"))
	w.createService("web2", "2", "3")
	w.waitFor("task 2 on the same node", w.isPlaced("2"))
	w.waitFor("the event that there is no room", w.hasEvent("web2"))

	// Another change does not repeat the event while the cause is the same.
	w.write(func(tx *store.Tx) { task.PutNode(tx, task.Node{Name: "b", Runtime: "none"}) })
	w.createService("web3", "4")
	w.waitFor("the event of the third service", w.hasEvent("web3"))

	w.write(func(tx *store.Tx) {
		if err := task.ForceStop(tx, ref("1"), task.StopCause{Code: task.UserInitiated}, time.Now()); err != nil {
			t.Error(err)
		}
	})
	w.waitFor("the oldest waiting task in the room that became free", w.isPlaced("3"))
	w.waitFor("the service without waiting tasks", func(s *store.Snapshot) bool {
		svc, _ := task.FindService(s, serviceRef("web2"))
		return svc.Unplaced == nil
	})
	if w.isPlaced("4")(w.db.Snapshot()) {
		t.Error("task 4 was placed on a node without room")
	}
	w.addNode("c", 512)
	w.waitFor("task 4 on the new node", w.isPlaced("4"))

	full := "The closest matching (container-instance " + task.ContainerInstanceID("a") +
		") has insufficient memory available."
	for name, cause := range map[string]string{
		"web": "Reason: No Container Instances were found in your cluster.", "web2": full, "web3": full,
	} {
		want := "(service " + name + ") was unable to place a task because no container instance met all of its " +
			"requirements. " +
			cause + " For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."
		if got := w.events(name); len(got) != 1 || got[0] != want {
			t.Errorf("events of %s: %q\nwant once %q", name, got, want)
		}
	}
}

// TestStoppedBeforePlaced checks that a task that is stopped while it waits ends without a node.
func TestStoppedBeforePlaced(t *testing.T) {
	w := newWorld(t)
	w.createService("web", "1")
	w.waitFor("the task waits", w.hasEvent("web"))
	w.write(func(tx *store.Tx) {
		if _, _, err := task.Stop(tx, ref("1"), task.StopCause{Code: task.UserInitiated}, time.Now()); err != nil {
			t.Error(err)
		}
	})
	w.waitFor("the task has stopped", func(s *store.Snapshot) bool {
		row, err := task.GetTask(s, ref("1"))
		return err == nil && row.Observed.State == task.Stopped
	})
}

// TestManyTasks places more tasks than one transaction can, and leaves the one waiting for which no node has room.
func TestManyTasks(t *testing.T) {
	w := newWorld(t)
	w.addNode("a", 400*512)
	w.addNode("b", 100*512)
	w.createService("web")
	w.write(func(tx *store.Tx) {
		for range 501 {
			createTask(tx, "web", task.NewID())
		}
	})
	w.waitFor("all tasks but one are placed", func(s *store.Snapshot) bool { return len(task.UnplacedTasks(s)) == 1 })
	s := w.db.Snapshot()
	if a, b := len(task.TasksOn(s, "a")), len(task.TasksOn(s, "b")); a != 400 || b != 100 {
		t.Errorf("%d tasks on a and %d on b, want 400 and 100", a, b)
	}
}

// TestAffectsPlacement checks which changes of a row let the loop run.
func TestAffectsPlacement(t *testing.T) {
	row := func(node string, desired string, state task.State) *task.Task {
		return &task.Task{Node: node, Desired: desired, Observed: task.Observed{State: state}}
	}
	waiting := row("", task.DesiredRunning, task.Provisioning)
	running := row("a", task.DesiredRunning, task.Running)
	stopping := row("a", task.DesiredStopped, task.Running)
	stopped := row("a", task.DesiredStopped, task.Stopped)
	for _, tc := range []struct {
		name     string
		old, new any
		want     bool
	}{
		{"task begins to wait", nil, waiting, true},
		{"task is placed", waiting, row("a", task.DesiredRunning, task.Provisioning), false},
		{"task begins to run", row("a", task.DesiredRunning, task.Pending), running, false},
		{"task is to stop", running, stopping, true},
		{"task has stopped", stopping, stopped, true},
		{"running task is deleted", running, nil, true},
		{"stopped task is deleted", stopped, nil, false},
		{"service with waiting tasks", nil, &task.Service{Unplaced: &task.Unplaced{}}, true},
		{"service without waiting tasks", nil, &task.Service{}, false},
		{"node", nil, &task.Node{}, true},
		{"node becomes live", nil, &task.Alive{}, true},
		{"container instance is deleted", &task.ContainerInstance{}, nil, true},
		{"cluster", nil, &task.Cluster{}, false},
	} {
		if got := affectsPlacement(store.RowChange{Old: tc.old, New: tc.new}); got != tc.want {
			t.Errorf("%s: affectsPlacement = %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestWaitCause(t *testing.T) {
	instance := "The closest matching (container-instance " + task.ContainerInstanceID("a") + ") "
	for _, tc := range []struct{ reason, want string }{
		{"", "Reason: No Container Instances were found in your cluster."},
		{placement.LacksCPU, instance + "has insufficient CPU units available."},
		{placement.LacksMemory, instance + "has insufficient memory available."},
		{placement.LacksPorts, instance + "is already using a port required by your task."},
		{placement.Disconnected, instance + `encountered error "AGENT".`},
	} {
		var rejections []placement.Rejection
		if tc.reason != "" {
			host := &placement.Host{Node: &task.Node{Name: "a"}, Instance: &task.ContainerInstance{Node: "a"}}
			rejections = append(rejections, placement.Rejection{Host: host, Reasons: []string{tc.reason}})
		}
		if got := waitCauseOf(rejections).text; got != tc.want {
			t.Errorf("cause of %q = %q, want %q", tc.reason, got, tc.want)
		}
	}
}
