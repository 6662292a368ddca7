package task

import "github.com/bakingclouds/rollcall/internal/store"

// Clearance is a node's statement that all its answers with the address of a draining task have expired. Each node
// waits for its own answers to expire and writes no time, so no clocks are compared across machines.
type Clearance struct {
	Task string // the key of the task's row
	Node string
}

var clearances = store.NewTable[Clearance]("clearance", "task/clearance/") // task's key/node

// AddClearance adds a node's clearance for a task, if the task is draining.
func AddClearance(tx *store.Tx, ref Ref, node string) {
	if t, ok := tasks.Find(tx, ref.Key()); ok && t.Registration == Draining {
		clearances.Put(tx, clearanceKey(ref, node), &Clearance{Task: ref.Key(), Node: node})
	}
}

// HasClearance reports whether a node has added its clearance for a task.
func HasClearance(r store.Reader, ref Ref, node string) bool {
	_, ok := clearances.Find(r, clearanceKey(ref, node))
	return ok
}

// dropClearances deletes the clearances for a task.
func dropClearances(tx *store.Tx, t *Task) {
	clearances.Scan(tx.Snapshot(), clearanceKey(t.Ref(), ""), "", func(key string, _ *Clearance) bool {
		clearances.Delete(tx, key)
		return true
	})
}

// SetRegistration writes the registration of a task, and whether service discovery answers with the task.
func SetRegistration(tx *store.Tx, ref Ref, to Registration, answered bool) {
	old, ok := tasks.Find(tx, ref.Key())
	if !ok || old.Registration == to && old.Answered == answered {
		return
	}
	if to == Released {
		dropClearances(tx, old)
	}
	t := *old
	t.Registration, t.Answered = to, answered
	t.Version++
	tasks.Put(tx, ref.Key(), &t)
}
