package scheduler

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
	"github.com/bakingclouds/rollcall/internal/task"
)

// world is the loop over a real store.
type world struct {
	t       *testing.T
	db      *store.Store
	sc      arn.Scope
	changed chan struct{}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, db: storetest.Open(t, task.Schema()...), sc: arn.Scope{Account: "1", Region: "r"}, changed: make(chan struct{}, 1)}
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
	if _, err := store.Update(w.t.Context(), w.db, func(tx *store.Tx) (struct{}, error) { fn(tx); return struct{}{}, nil }); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) node(name string, memory int) {
	w.t.Helper()
	leave, err := task.KeepAlive(w.t.Context(), w.db, name)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(leave)
	w.write(func(tx *store.Tx) { task.PutNode(tx, task.Node{Name: name, Runtime: "process", Memory: memory}) })
}

// service writes a service of tasks of 512 MiB, and its tasks by their ids.
func (w *world) service(name string, ids ...string) {
	w.t.Helper()
	w.write(func(tx *store.Tx) {
		def := task.RegisterDefinition(tx, w.sc, task.Definition{Family: name, Memory: 512}, time.Now())
		d := task.NewDeployment(name, def.Revision, nil, nil, time.Now())
		task.PutService(tx, task.Service{Account: "1", Region: "r", Cluster: "c", Name: name, Status: task.Active, Deployments: []task.Deployment{d}})
	})
	for _, id := range ids {
		w.write(func(tx *store.Tx) {
			task.CreateTask(tx, task.Task{
				Account: "1", Region: "r", Cluster: "c", ID: task.ID(id), Service: name, Family: name, Revision: 1, Created: time.Now(),
				Observed: task.Observed{State: task.Provisioning},
			})
		})
	}
}

// until waits for a state of the rows.
func (w *world) until(what string, is func(*store.Snapshot) bool) {
	w.t.Helper()
	deadline := time.After(time.Minute)
	for !is(w.db.Snapshot()) {
		select {
		case <-w.changed:
		case <-deadline:
			w.t.Fatalf("not in a minute: %s", what)
		}
	}
}

func (w *world) placed(id string) func(*store.Snapshot) bool {
	return func(s *store.Snapshot) bool {
		t, err := task.GetTask(s, task.Ref{Scope: w.sc, Cluster: "c", ID: task.ID(id)})
		return err == nil && t.Node != ""
	}
}

// events are a service's, oldest first.
func (w *world) events(name string) []string {
	svc, _ := task.FindService(w.db.Snapshot(), task.ServiceRef{Scope: w.sc, Cluster: "c", Name: name})
	var messages []string
	for _, e := range task.Events(w.db.Snapshot(), svc) {
		messages = append([]string{e.Message}, messages...)
	}
	return messages
}

func (w *world) said(name string, n int) func(*store.Snapshot) bool {
	return func(*store.Snapshot) bool { return len(w.events(name)) >= n }
}

// TestWaiting follows a service that outgrows its nodes: it says why, once for each cause, and goes on as soon as
// there is room, whoever made it.
func TestWaiting(t *testing.T) {
	w := newWorld(t)
	w.service("web", "1")
	w.until("the history says that there is no node", w.said("web", 1))
	w.node("a", 1024)
	w.until("placed on the node that came", w.placed("1"))
	w.service("web2", "2", "3")
	w.until("placed beside the other", w.placed("2"))
	w.until("the history says that there is no room", w.said("web2", 1))

	// Whatever else happens, nothing is said again while the cause is the same.
	w.write(func(tx *store.Tx) { task.PutNode(tx, task.Node{Name: "b", Runtime: "none"}) })
	w.service("web3", "4")
	w.until("of the other service too", w.said("web3", 1))

	w.write(func(tx *store.Tx) {
		first, err := task.GetTask(tx, task.Ref{Scope: w.sc, Cluster: "c", ID: "1"})
		if err != nil {
			t.Error(err)
			return
		}
		if err := task.GiveUp(tx, first.Ref(), task.StopCause{Code: task.UserInitiated}, time.Now()); err != nil {
			t.Error(err)
		}
	})
	w.until("the oldest that waits has the room", w.placed("3"))
	w.until("the service says no more that tasks wait", func(s *store.Snapshot) bool {
		svc, _ := task.FindService(s, task.ServiceRef{Scope: w.sc, Cluster: "c", Name: "web2"})
		return svc.Unplaced == nil
	})
	if w.placed("4")(w.db.Snapshot()) {
		t.Error("a node is overbooked")
	}
	w.node("c", 512)
	w.until("the last too", w.placed("4"))

	const begin, end = "(service ) was unable to place a task because no container instance met all of its requirements. ",
		" For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."
	full := "The closest matching (container-instance " + task.ContainerInstanceID("a") + ") has insufficient memory available."
	for name, want := range map[string]string{
		"web": "Reason: No Container Instances were found in your cluster.", "web2": full, "web3": full,
	} {
		want = strings.Replace(begin, "(service )", "(service "+name+")", 1) + want + end
		if got := w.events(name); len(got) != 1 || got[0] != want {
			t.Errorf("history of %s: %q\nwant once %q", name, got, want)
		}
	}
}

// TestStoppedBeforePlaced: no agent ends a task that has no node.
func TestStoppedBeforePlaced(t *testing.T) {
	w := newWorld(t)
	w.service("web", "1")
	w.until("it waits", w.said("web", 1))
	w.write(func(tx *store.Tx) {
		if _, _, err := task.Stop(tx, task.Ref{Scope: w.sc, Cluster: "c", ID: "1"}, task.StopCause{Code: task.UserInitiated}, time.Now()); err != nil {
			t.Error(err)
		}
	})
	w.until("stopped", func(s *store.Snapshot) bool {
		row, err := task.GetTask(s, task.Ref{Scope: w.sc, Cluster: "c", ID: "1"})
		return err == nil && row.Observed.State == task.Stopped
	})
}

// TestBurst places more tasks than one transaction does, none on a node that has no room.
func TestBurst(t *testing.T) {
	w := newWorld(t)
	w.node("a", 400*512)
	w.node("b", 100*512)
	w.service("web")
	w.write(func(tx *store.Tx) {
		for range 501 {
			task.CreateTask(tx, task.Task{
				Account: "1", Region: "r", Cluster: "c", ID: task.NewID(), Service: "web", Family: "web", Revision: 1, Created: time.Now(),
				Observed: task.Observed{State: task.Provisioning},
			})
		}
	})
	w.until("all but one are placed", func(s *store.Snapshot) bool { return len(task.Waiting(s)) == 1 })
	s := w.db.Snapshot()
	if a, b := len(task.TasksOn(s, "a")), len(task.TasksOn(s, "b")); a != 400 || b != 100 {
		t.Errorf("%d and %d tasks, want 400 and 100", a, b)
	}
}
