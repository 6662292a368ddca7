package nodefailure

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
	"github.com/bakingclouds/rollcall/internal/task"
)

// TestPass counts only what was seen without a break.
func TestPass(t *testing.T) {
	nodes := []*task.Node{{Name: "a"}, {Name: "b"}}
	a := absences{}
	for i, step := range []struct {
		elapsed time.Duration
		live    string // letters
		want    string
	}{
		{4, "ab", "[]"},
		{4, "a", "[]"},
		{4, "ab", "[]"}, // back in time: what came before is forgotten
		{4, "a", "[]"},
		{4, "a", "[]"},
		{4, "", "[b]"},
		{4, "", "[b]"}, // until nothing is left to give up
		{4, "", "[a b]"},
		{4, "b", "[a]"},
	} {
		live := func(name string) bool { return name == step.live || step.live == "ab" }
		if got := fmt.Sprint(a.pass(step.elapsed, 10, nodes, live)); got != step.want {
			t.Errorf("step %d: %s, want %s", i, got, step.want)
		}
	}
}

// TestGiveUp: a node that stays lost has its tasks given up, whatever state they were in; not while the leases cannot
// be believed.
func TestGiveUp(t *testing.T) {
	db := storetest.Open(t, task.Schema()...)
	write := func(fn func(tx *store.Tx)) {
		t.Helper()
		if _, err := store.Update(t.Context(), db, func(tx *store.Tx) (struct{}, error) { fn(tx); return struct{}{}, nil }); err != nil {
			t.Fatal(err)
		}
	}
	write(func(tx *store.Tx) {
		for _, name := range []string{"self", "gone"} {
			task.PutNode(tx, task.Node{Name: name, Runtime: "process"})
		}
		for id, node := range map[string]string{"1": "gone", "2": "self", "3": "gone"} {
			task.CreateTask(tx, task.Task{Region: "r", Cluster: "c", ID: task.ID(id), Service: "web", Node: node, Observed: task.Observed{State: task.Running}})
		}
	})
	given := make(chan *task.Task, 10)
	db.Follow(func(c store.Change) {
		for _, r := range c.Rows {
			if row, ok := r.New.(*task.Task); ok && row.Observed.State == task.Stopped {
				given <- row
			}
		}
	})
	var fault atomic.Pointer[error]
	full := errors.New("disk full")
	fault.Store(&full)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = Run(ctx, db, Config{Self: "self", Grace: time.Second, Log: slog.New(slog.DiscardHandler), Writable: func() error {
			if err := fault.Load(); err != nil {
				return *err
			}
			return nil
		}})
	}()
	defer func() { cancel(); <-done }()

	nothing := func(why string) {
		t.Helper()
		select {
		case row := <-given:
			t.Fatalf("%s, and task %s of %s is given up", why, row.ID, row.Node)
		case <-time.After(2 * time.Second): // twice the grace
		}
	}
	nothing("no lease can be renewed")
	fault.Store(nil)
	nothing("this node's own lease is lost")

	leave, err := task.KeepAlive(t.Context(), db, "self")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(leave)
	for range 2 {
		select {
		case row := <-given:
			if row.Node != "gone" || row.StopCode != "TerminationNotice" || row.Desired != task.DesiredStopped || row.Observed.EndedAt == nil ||
				row.StoppedReason != "Host EC2 (instance "+task.MachineID("gone")+") terminated." {
				t.Errorf("given up: %+v", row)
			}
		case <-time.After(time.Minute):
			t.Fatal("nothing was given up in a minute")
		}
	}
	nothing("the rest runs on a live node")
}
