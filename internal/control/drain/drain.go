// Package drain runs on every node. For each draining task it waits until the answers of this node that contain the
// task's address have expired, and then gives the node's clearance ([task.Clearance]). When all nodes have given
// theirs, package registrar releases the task.
//
// A draining task is already in no new answer. The node waits until the answers under way are sent
// ([directory.Directory.WaitForGuards]) and until the last of them expires ([directory.Directory.ExpiresAt]). The wait
// is exact, and zero if no answer contained the address. After a restart the node does not know what it has answered,
// so it waits for the longest TTL that the service has ever had.
//
// For clients that use addresses beyond their TTL, a tag of the service sets a minimum drain time ([MinimumTag]).
//
// drain does not know the other nodes. Start reading at remainingWait, the rule, and drain.reconcile.
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

// MinimumTag is the key of the tag that sets the minimum drain time of a service's tasks, in whole seconds. It is for
// clients that use addresses longer than their TTL, such as a pool of kept-alive connections or a JVM that caches
// names. The tag is read from the ECS service and from the Cloud Map service, and the greater value applies. A value
// that is not a number is ignored. The server's --drain-cap limits the minimum drain time.
const MinimumTag = "rollcall:minimum-drain-seconds"

// maxMinimum is the greatest minimum drain time that a tag can set. The drain cap, which applies too, is far below.
const maxMinimum = 24 * time.Hour

// drain is the state of the loop.
type drain struct {
	db   *store.Store
	dir  *directory.Directory
	node string

	mu            sync.Mutex
	drainingSince map[string]time.Time // by task key
}

// New returns the loop of a node. A task is reconciled when it begins to drain. The directory must already follow db.
func New(db *store.Store, dir *directory.Directory, node string, log *slog.Logger) *loop.Loop {
	d := newDrain(db, dir, node)
	l := loop.New("drain", 64, log, d.reconcile)
	db.Follow(func(c store.Change) {
		for _, row := range c.Rows {
			if t, ok := row.Row().(*task.Task); ok && d.track(t, row.New == nil, time.Now()) {
				l.Mark(t.Key())
			}
		}
	}, task.Schema()...)
	return l
}

func newDrain(db *store.Store, dir *directory.Directory, node string) *drain {
	return &drain{db: db, dir: dir, node: node, drainingSince: map[string]time.Time{}}
}

// track stores since when a task is draining, and reports whether it is.
func (d *drain) track(t *task.Task, deleted bool, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if deleted || t.Registration != task.Draining {
		delete(d.drainingSince, t.Key())
		return false
	}
	if d.drainingSince[t.Key()].IsZero() {
		d.drainingSince[t.Key()] = now
	}
	return true
}

// reconcile gives this node's clearance for a draining task, or returns the time that the task still has to wait.
func (d *drain) reconcile(ctx context.Context, key string) (time.Duration, error) {
	s := d.db.Snapshot()
	t, ok := task.FindByKey(s, key)
	if !ok || t.Registration != task.Draining || task.HasClearance(s, t.Ref(), d.node) {
		return 0, nil
	}
	if err := d.dir.WaitForGuards(ctx); err != nil {
		return 0, err
	}
	d.mu.Lock()
	since := d.drainingSince[key]
	d.mu.Unlock()
	if wait := remainingWait(answersExpireIn(d.dir, t), since, minimumOf(s, t), time.Now()); wait > 0 {
		return wait, nil
	}
	return store.Update(ctx, d.db, func(tx *store.Tx) (time.Duration, error) {
		task.AddClearance(tx, t.Ref(), d.node)
		return 0, nil
	})
}

// remainingWait returns the time after which a node can clear a task whose address is in answers that expire in a given
// time, and that has to drain for a minimum since it began to.
func remainingWait(answersExpireIn time.Duration, since time.Time, minimum time.Duration, now time.Time) time.Duration {
	return max(0, answersExpireIn, since.Add(minimum).Sub(now))
}

// answersExpireIn returns the time after which all answers of this node that contain a task's address have expired.
func answersExpireIn(dir *directory.Directory, t *task.Task) (longest time.Duration) {
	for _, reg := range t.Registries {
		longest = max(longest, dir.ExpiresAt(reg.ServiceID, string(t.ID)).Until())
	}
	return longest
}

// minimumOf returns the minimum drain time of a task: the greatest that its ECS service and its Cloud Map services set.
func minimumOf(s *store.Snapshot, t *task.Task) (minimum time.Duration) {
	if svc, ok := task.FindService(s, t.ServiceRef()); ok {
		minimum = parseMinimum(svc.Tags[MinimumTag])
	}
	for _, reg := range t.Registries {
		if tags, err := registry.Tags(s, t.Scope(), registry.Resource{ID: reg.ServiceID}); err == nil {
			minimum = max(minimum, parseMinimum(tags[MinimumTag]))
		}
	}
	return minimum
}

// parseMinimum parses the value of a MinimumTag. It returns 0 if the value is not a number.
func parseMinimum(value string) time.Duration {
	seconds, err := strconv.ParseUint(value, 10, 63)
	if err != nil {
		return 0
	}
	return time.Duration(min(seconds, uint64(maxMinimum/time.Second))) * time.Second
}
