package task_test

import (
	"testing"

	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
	"github.com/bakingclouds/rollcall/internal/task"
)

// TestLiveNodes counts a node as live while its server runs, whatever it runs.
func TestLiveNodes(t *testing.T) {
	db := storetest.Open(t, task.Schema()...)
	_, err := store.Update(t.Context(), db, func(tx *store.Tx) (struct{}, error) {
		for name, runtime := range map[string]string{"a": "process", "b": "none", "c": "process"} {
			task.PutNode(tx, task.Node{Name: name, Runtime: runtime})
		}
		return struct{}{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	live := func() string {
		var names string
		for _, n := range task.LiveNodes(db.Snapshot()) {
			names += n.Name
		}
		return names
	}
	if got := live(); got != "" {
		t.Errorf("live nodes before any server runs: %q", got)
	}
	for _, name := range []string{"b", "c", "d"} { // nobody knows d yet
		leave, err := task.KeepAlive(t.Context(), db, name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(leave)
	}
	if got := live(); got != "bc" {
		t.Errorf("live nodes %q, want b, which runs no tasks but answers clients, and c", got)
	}
	if got := len(task.Nodes(db.Snapshot())); got != 3 {
		t.Errorf("%d nodes, want 3, the lost one among them", got)
	}
}
