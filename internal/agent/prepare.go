package agent

import (
	"context"
	"time"

	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// preparation is a call of [Runtime.Prepare] for a task.
type preparation struct {
	cancel context.CancelFunc
	ended  bool
	err    error
}

// prepare has the runtime fetch the images of a task, and returns whether that is done. It does not wait for a fetch:
// the fetch runs in the background, ends when the task is stopped, and marks the task when it is complete.
func (a *Agent) prepare(ctx context.Context, t *task.Task, spec TaskSpec) (done bool, err error) {
	a.mu.Lock()
	p := a.preparing[string(t.ID)]
	if p != nil {
		defer a.mu.Unlock()
		if p.ended {
			delete(a.preparing, string(t.ID))
		}
		return p.ended, p.err
	}
	fetchCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p = &preparation{cancel: cancel}
	a.preparing[string(t.ID)] = p
	a.mu.Unlock()

	fetching, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer cancel()
		err := a.rt.Prepare(fetchCtx, spec, func() { close(fetching) })
		a.mu.Lock()
		p.ended, p.err = true, err
		a.mu.Unlock()
		close(ended)
	}()
	select {
	case <-ended:
		return a.prepare(ctx, t, spec)
	case <-fetching:
	}
	go func() {
		a.recordPull(fetchCtx, t, func(o *task.Observed, now time.Time) { o.PullStartedAt = &now })
		<-ended
		a.recordPull(context.WithoutCancel(ctx), t, func(o *task.Observed, now time.Time) { o.PullStoppedAt = &now })
		a.loop.Mark(t.Key())
	}()
	return false, nil
}

// cancelPreparation cancels the fetch of a task that is being stopped.
func (a *Agent) cancelPreparation(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.preparing[id]; p != nil {
		p.cancel()
		if p.ended {
			delete(a.preparing, id)
		}
	}
}

// recordPull writes the time at which a fetch begins or ends to the task's row. Only clients read it.
func (a *Agent) recordPull(ctx context.Context, t *task.Task, set func(*task.Observed, time.Time)) {
	now := time.Now()
	_, err := store.Update(ctx, a.db, func(tx *store.Tx) (struct{}, error) {
		return struct{}{}, task.UpdateTask(tx, t.Ref(), func(t *task.Task) bool {
			if t.Observed.State == task.Stopped {
				return false
			}
			set(&t.Observed, now)
			return true
		})
	})
	if err != nil && ctx.Err() == nil {
		a.Log.Debug("cannot record the time of an image pull", "task", t.ID, "err", err)
	}
}
