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

// TestLostTimes checks that only uninterrupted time counts.
func TestLostTimes(t *testing.T) {
	nodes := []*task.Node{{Name: "a"}, {Name: "b"}}
	lost := lostTimes{}
	for i, step := range []struct {
		elapsed time.Duration
		live    string // one letter per live node
		want    string
	}{
		{4, "ab", "[]"},
		{4, "a", "[]"},
		{4, "ab", "[]"}, // live again within the grace period: the count starts again
		{4, "a", "[]"},
		{4, "a", "[]"},
		{4, "", "[b]"},
		{4, "", "[b]"}, // a failed node is returned until it is live again
		{4, "", "[a b]"},
		{4, "b", "[a]"},
	} {
		live := func(name string) bool { return name == step.live || step.live == "ab" }
		if got := fmt.Sprint(lost.add(step.elapsed, 10, nodes, live)); got != step.want {
			t.Errorf("step %d: failed nodes %s, want %s", i, got, step.want)
		}
	}
}

// TestGiveUp checks that the tasks of a node that stays lost are given up, but not while the leases are unreliable.
func TestGiveUp(t *testing.T) {
	db := storetest.Open(t, task.Schema()...)
	write := func(fn func(tx *store.Tx)) {
		t.Helper()
		_, err := store.Update(t.Context(), db, func(tx *store.Tx) (struct{}, error) { fn(tx); return struct{}{}, nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	write(func(tx *store.Tx) {
		for _, name := range []string{"self", "lost"} {
			task.PutNode(tx, task.Node{Name: name, Runtime: "process"})
		}
		for id, node := range map[string]string{"1": "lost", "2": "self", "3": "lost"} {
			task.CreateTask(tx, task.Task{
				Region: "r", Cluster: "c", ID: task.ID(id), Service: "web", Node: node,
				Observed: task.Observed{State: task.Running},
			})
		}
	})
	stopped := make(chan *task.Task, 10)
	db.Follow(func(c store.Change) {
		for _, r := range c.Rows {
			if row, ok := r.New.(*task.Task); ok && row.Observed.State == task.Stopped {
				stopped <- row
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
		writable := func() error {
			if err := fault.Load(); err != nil {
				return *err
			}
			return nil
		}
		_ = Run(ctx, db, Config{
			Self: "self", Grace: time.Second, Log: slog.New(slog.DiscardHandler), Writable: writable,
		})
	}()
	defer func() { cancel(); <-done }()

	expectNone := func(reason string) {
		t.Helper()
		select {
		case row := <-stopped:
			t.Fatalf("%s: task %s of node %s was given up", reason, row.ID, row.Node)
		case <-time.After(2 * time.Second): // twice the grace period
		}
	}
	expectNone("no lease can be renewed")
	fault.Store(nil)
	expectNone("this node has no lease")

	leave, err := task.KeepAlive(t.Context(), db, "self")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(leave)
	wantReason := "Host EC2 (instance " + task.MachineID("lost") + ") terminated."
	for range 2 {
		select {
		case row := <-stopped:
			if row.Node != "lost" || row.StopCode != "TerminationNotice" || row.Desired != task.DesiredStopped ||
				row.Observed.EndedAt == nil || row.StoppedReason != wantReason {
				t.Errorf("task that was given up: %+v", row)
			}
		case <-time.After(time.Minute):
			t.Fatal("timed out after a minute waiting for a task to be given up")
		}
	}
	expectNone("the other task runs on a live node")
}
