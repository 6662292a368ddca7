// Package loop runs control loops. A loop is a set of dirty keys and a function that reconciles one key.
//
// An event only marks its key ([Loop.Mark]); it never carries the work. Events may therefore be merged, repeated or
// late, and a loop that is killed at any point converges on its next run. A key whose reconcile failed stays dirty
// and is retried after a growing delay. A key is never reconciled twice at the same time.
//
// loop knows keys, delays and the number of keys to reconcile in parallel. It does not know what a key identifies.
// Start reading at [Loop.Run].
package loop

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// ReconcileFunc reconciles one key. If again is positive, the key is reconciled again after that time, even if it is
// not marked before.
type ReconcileFunc func(ctx context.Context, key string) (again time.Duration, err error)

// The delay after a failure is firstDelay and doubles with each further failure, up to maxDelay.
const (
	firstDelay = 100 * time.Millisecond
	maxDelay   = 30 * time.Second
)

// Loop reconciles dirty keys. Mark may be called before, during and after Run.
type Loop struct {
	reconcile ReconcileFunc
	parallel  int
	log       *slog.Logger
	wake      chan struct{} // has one element while there may be a key to reconcile

	mu       sync.Mutex
	dirty    map[string]bool
	busy     map[string]bool
	failures map[string]int // in a row
	timers   map[string]*time.Timer
	due      map[string]time.Time // when the timers fire
}

// New returns a loop that reconciles up to parallel keys at the same time. Its name is in its log messages.
func New(name string, parallel int, log *slog.Logger, reconcile ReconcileFunc) *Loop {
	return &Loop{
		reconcile: reconcile, parallel: parallel, log: log.With("loop", name),
		dirty: map[string]bool{}, busy: map[string]bool{}, failures: map[string]int{},
		timers: map[string]*time.Timer{}, due: map[string]time.Time{}, wake: make(chan struct{}, 1),
	}
}

// Mark marks a key as dirty, so that it is reconciled soon.
func (l *Loop) Mark(key string) {
	l.mu.Lock()
	l.dirty[key] = true
	l.mu.Unlock()
	l.wakeUp()
}

// wakeUp makes Run look for keys to reconcile.
func (l *Loop) wakeUp() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Run reconciles dirty keys until ctx is done, and then waits for the calls that are running.
func (l *Loop) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	l.wakeUp()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.wake:
		}
		for _, key := range l.startKeys() {
			running.Go(func() { l.reconcileKey(ctx, key) })
		}
	}
}

// startKeys marks dirty keys that are not busy as busy, as many as may run, and returns them.
func (l *Loop) startKeys() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var keys []string
	for key := range l.dirty {
		if len(l.busy) >= l.parallel {
			break
		}
		if !l.busy[key] {
			delete(l.dirty, key)
			l.busy[key] = true
			keys = append(keys, key)
		}
	}
	return keys
}

// reconcileKey reconciles a busy key and schedules the next call.
func (l *Loop) reconcileKey(ctx context.Context, key string) {
	again, err := l.reconcile(ctx, key)
	l.mu.Lock()
	delete(l.busy, key)
	if ctx.Err() != nil {
		l.dirty[key] = true // the call may have been cut short; the next Run repeats it
	} else if err != nil {
		again = min(firstDelay<<min(l.failures[key], 16), maxDelay)
		l.failures[key]++
		l.log.Warn("reconcile failed; will retry", "key", key, "after", again, "err", err)
	} else {
		delete(l.failures, key)
	}
	if again > 0 {
		l.markAfterLocked(key, again)
	}
	l.mu.Unlock()
	l.wakeUp()
}

// markAfterLocked marks a key after a delay. If a timer of the key fires earlier, it stays instead.
func (l *Loop) markAfterLocked(key string, delay time.Duration) {
	due := time.Now().Add(delay)
	if t, ok := l.timers[key]; ok {
		if l.due[key].Before(due) {
			return
		}
		t.Stop()
	}
	l.due[key] = due
	var timer *time.Timer
	timer = time.AfterFunc(delay, func() {
		l.mu.Lock()
		if l.timers[key] == timer {
			delete(l.timers, key)
			delete(l.due, key)
		}
		l.dirty[key] = true
		l.mu.Unlock()
		l.wakeUp()
	})
	l.timers[key] = timer
}
