package task

import "github.com/bakingclouds/rollcall/internal/store"

// Clearance is one node's word that no client which honours TTLs has a draining task's address from it any
// more. Each node waits for its own answers to expire and writes no time, so that no clock is compared across
// machines.
type Clearance struct {
	Task string // the key of its row
	Node string
}

var clearances = store.NewTable[Clearance]("clearance", "task/clearance/") // task's key/node

// AddClearance gives a node's clearance for a task, unless the task drains no more.
func AddClearance(tx *store.Tx, ref Ref, node string) {
	if t, ok := tasks.Find(tx, ref.Key()); ok && t.Registration == Draining {
		clearances.Put(tx, clearanceKey(ref, node), &Clearance{Task: ref.Key(), Node: node})
	}
}

// HasClearance reports whether a node has given its clearance for a task.
func HasClearance(r store.Reader, ref Ref, node string) bool {
	_, ok := clearances.Find(r, clearanceKey(ref, node))
	return ok
}

// dropClearances forgets the clearances for a task that has been drained.
func dropClearances(tx *store.Tx, t *Task) {
	clearances.Scan(tx.Snapshot(), clearanceKey(t.Ref(), ""), "", func(key string, _ *Clearance) bool {
		clearances.Delete(tx, key)
		return true
	})
}

// SetRegistration writes where a task is in service discovery, and whether it is answered there.
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
