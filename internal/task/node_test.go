package task_test

import (
	"testing"

	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
	"github.com/bakingclouds/rollcall/internal/task"
)

// TestLiveNodes checks that a node is live while its server runs, with any runtime.
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
	for _, name := range []string{"b", "c", "d"} { // d has no row yet
		leave, err := task.KeepAlive(t.Context(), db, name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(leave)
	}
	if got := live(); got != "bc" {
		t.Errorf("live nodes %q, want bc: b runs no tasks but answers clients", got)
	}
	if got := len(task.Nodes(db.Snapshot())); got != 3 {
		t.Errorf("%d nodes, want 3, including the lost one", got)
	}
}
