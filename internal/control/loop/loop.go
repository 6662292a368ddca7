// Package loop runs the control loops: a set of dirty keys, drained by calling one function a key.
//
// An event only marks its key ([Loop.Mark]); it never carries the work. Merged, repeated or late events are
// therefore harmless, and a loop that is killed at any point converges in its next pass. A key whose pass
// failed stays dirty and is tried again after a growing delay; a key is never worked on twice at once.
//
// loop knows keys, delays and how many passes may run at once. It does not know what a pass does.
package loop

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Pass works on one key. again > 0 asks for another pass after that time, whatever happens in between.
type Pass func(ctx context.Context, key string) (again time.Duration, err error)

// Delays after a failed pass: the first, and the most that doubling leads to.
const (
	firstDelay = 100 * time.Millisecond
	mostDelay  = 30 * time.Second
)

// Loop drains dirty keys. Mark may be called before, while and after it runs.
type Loop struct {
	name     string
	pass     Pass
	parallel int
	log      *slog.Logger

	mu       sync.Mutex
	dirty    map[string]bool
	busy     map[string]bool
	failures map[string]int
	timers   map[string]*time.Timer
	due      map[string]time.Time // of timers
	wake     chan struct{}
}

// New makes a loop of up to parallel passes at once.
func New(name string, parallel int, log *slog.Logger, pass Pass) *Loop {
	return &Loop{
		name: name, pass: pass, parallel: parallel, log: log.With("loop", name),
		dirty: map[string]bool{}, busy: map[string]bool{}, failures: map[string]int{},
		timers: map[string]*time.Timer{}, due: map[string]time.Time{}, wake: make(chan struct{}, 1),
	}
}

// Mark says that a key wants a pass.
func (l *Loop) Mark(key string) {
	l.mu.Lock()
	l.dirty[key] = true
	l.mu.Unlock()
	l.poke()
}

func (l *Loop) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Run drains dirty keys until ctx ends, then waits for the passes under way.
func (l *Loop) Run(ctx context.Context) error {
	var passes sync.WaitGroup
	defer passes.Wait()
	l.poke()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.wake:
		}
		for _, key := range l.take() {
			passes.Go(func() { l.run(ctx, key) })
		}
	}
}

// take picks the keys to start on: dirty, not busy, as many as may run.
func (l *Loop) take() []string {
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

// run makes one pass and arranges the next.
func (l *Loop) run(ctx context.Context, key string) {
	again, err := l.pass(ctx, key)
	l.mu.Lock()
	delete(l.busy, key)
	if ctx.Err() != nil {
		l.dirty[key] = true // whoever runs next finishes what was cut off
	} else if err != nil {
		again = min(firstDelay<<min(l.failures[key], 16), mostDelay)
		l.failures[key]++
		l.log.Warn("a pass failed and is tried again", "key", key, "after", again, "err", err)
	} else {
		delete(l.failures, key)
	}
	if again > 0 {
		l.later(key, again)
	}
	l.mu.Unlock()
	l.poke()
}

// later marks the key after a time; of several, the earliest counts. l.mu is held.
func (l *Loop) later(key string, after time.Duration) {
	due := time.Now().Add(after)
	if t, ok := l.timers[key]; ok {
		if l.due[key].Before(due) {
			return
		}
		t.Stop()
	}
	l.due[key] = due
	var timer *time.Timer
	timer = time.AfterFunc(after, func() {
		l.mu.Lock()
		if l.timers[key] == timer {
			delete(l.timers, key)
			delete(l.due, key)
		}
		l.dirty[key] = true
		l.mu.Unlock()
		l.poke()
	})
	l.timers[key] = timer
}
