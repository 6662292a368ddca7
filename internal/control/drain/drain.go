// Package drain waits, on every node, until no client that honours TTLs holds the address of a task that
// shall stop, as far as this node has handed it out. Then it gives the node's clearance
// ([task.Clearance]); when all nodes have, the register loop lets the task go.
//
// When a task is marked as draining, the directory has dropped it from every answer already. What is left
// to wait for is that answers under way have been sent ([directory.Directory.WaitForGuards]), and then for the
// moment that the directory knows ([directory.Directory.ExpiresAt]): exact, and no wait at all where nothing was
// handed out. After a restart of the process that moment is the latest it can have been.
//
// What keeps addresses beyond their TTL is helped by a tag of the service, [MinimumTag].
package drain

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/bakingclouds/rollcall/internal/control/loop"
	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// MinimumTag is the key of the tag that gives a service's tasks a minimum drain time, in whole seconds: for
// clients that keep addresses longer than their TTL, such as a pool of kept-alive connections or a JVM with a
// cache of its own. It is read from the ECS service and from the Cloud Map service; the greater one counts. A
// value that is no number counts as none. The server's --drain-cap bounds it.
const MinimumTag = "rollcall:minimum-drain-seconds"

// drain is the loop's state.
type drain struct {
	db   *store.Store
	dir  *directory.Directory
	node string

	mu    sync.Mutex
	since map[string]time.Time // task key -> when it was first seen to drain
}

// New makes the loop of a node and marks tasks as they begin to drain. The directory is one that follows db,
// and did so before the call.
func New(db *store.Store, dir *directory.Directory, node string, log *slog.Logger) *loop.Loop {
	d := &drain{db: db, dir: dir, node: node, since: map[string]time.Time{}}
	l := loop.New("drain", 64, log, d.pass)
	db.Follow(func(c store.Change) {
		for _, row := range c.Rows {
			if t, ok := row.Row().(*task.Task); ok && d.note(t, row.New == nil) {
				l.Mark(t.Key())
			}
		}
	}, task.Schema()...)
	return l
}

// note remembers since when a task drains, and reports whether it does.
func (d *drain) note(t *task.Task, gone bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if gone || t.Registration != task.Draining {
		delete(d.since, t.Key())
		return false
	}
	if d.since[t.Key()].IsZero() {
		d.since[t.Key()] = time.Now()
	}
	return true
}

// pass gives this node's clearance for a draining task, or says how long there is to wait.
func (d *drain) pass(ctx context.Context, key string) (time.Duration, error) {
	s := d.db.Snapshot()
	t, ok := task.FindByKey(s, key)
	if !ok || t.Registration != task.Draining || task.HasClearance(s, t.Ref(), d.node) {
		return 0, nil
	}
	if err := d.dir.WaitForGuards(ctx); err != nil {
		return 0, err
	}
	d.mu.Lock()
	since := d.since[key]
	d.mu.Unlock()
	if left := max(Held(d.dir, t), time.Until(since.Add(minimumOf(s, t)))); left > 0 {
		return left, nil
	}
	return store.Update(ctx, d.db, func(tx *store.Tx) (time.Duration, error) {
		task.AddClearance(tx, t.Ref(), d.node)
		return 0, nil
	})
}

// Held is how long clients may still use a task's address that have it from this node.
func Held(dir *directory.Directory, t *task.Task) (left time.Duration) {
	for _, reg := range t.Registries {
		left = max(left, dir.ExpiresAt(reg.ServiceID, string(t.ID)).Until())
	}
	return left
}

// minimumOf is the minimum drain time that a task's services ask for.
func minimumOf(s *store.Snapshot, t *task.Task) (least time.Duration) {
	if svc, ok := task.FindService(s, t.ServiceRef()); ok {
		least = minimum(svc.Tags)
	}
	for _, reg := range t.Registries {
		if tags, err := registry.Tags(s, t.Scope(), registry.Resource{ID: reg.ServiceID}); err == nil {
			least = max(least, minimum(tags))
		}
	}
	return least
}

// most bounds what a tag can ask for, so that no number overflows; the cap is far below.
const most = 24 * 60 * 60

func minimum(tags map[string]string) time.Duration {
	seconds, err := strconv.ParseUint(tags[MinimumTag], 10, 63)
	if err != nil {
		return 0
	}
	return time.Duration(min(seconds, most)) * time.Second
}
