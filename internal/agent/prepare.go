package agent

import (
	"context"
	"time"

	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// preparation is what a task's containers are made of being fetched.
type preparation struct {
	cancel context.CancelFunc
	ended  bool
	err    error
}

// prepare has the runtime fetch what a task's containers are made of, and says whether that is done. A fetch that takes its
// time holds up nobody: it goes on by itself, ends when the task is no longer wanted, and marks the task at its end.
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
	within, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p = &preparation{cancel: cancel}
	a.preparing[string(t.ID)] = p
	a.mu.Unlock()

	fetching, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer cancel()
		err := a.rt.Prepare(within, spec, func() { close(fetching) })
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
		a.pulls(within, t, func(o *task.Observed, now time.Time) { o.PullStartedAt = &now })
		<-ended
		a.pulls(context.WithoutCancel(ctx), t, func(o *task.Observed, now time.Time) { o.PullStoppedAt = &now })
		a.loop.Mark(t.Key())
	}()
	return false, nil
}

// forgetPreparation ends a fetch that nobody waits for any more.
func (a *Agent) forgetPreparation(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.preparing[id]; p != nil {
		p.cancel()
		if p.ended {
			delete(a.preparing, id)
		}
	}
}

// pulls notes the time of a fetch's begin or end. It is for people to see: nothing hangs on it.
func (a *Agent) pulls(ctx context.Context, t *task.Task, note func(*task.Observed, time.Time)) {
	now := time.Now()
	_, err := store.Update(ctx, a.db, func(tx *store.Tx) (struct{}, error) {
		return struct{}{}, task.UpdateTask(tx, t.Ref(), func(t *task.Task) bool {
			if t.Observed.State == task.Stopped {
				return false
			}
			note(&t.Observed, now)
			return true
		})
	})
	if err != nil && ctx.Err() == nil {
		a.Log.Debug("the time of a pull cannot be noted", "task", t.ID, "err", err)
	}
}
