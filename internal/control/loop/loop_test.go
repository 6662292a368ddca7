package loop

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var quiet = slog.New(slog.DiscardHandler)

// recorder notes passes and finds two on one key at once.
type recorder struct {
	mu     sync.Mutex
	busy   map[string]bool
	passes map[string]int
	most   int
	torn   bool
}

func newRecorder() *recorder { return &recorder{busy: map[string]bool{}, passes: map[string]int{}} }

func (r *recorder) pass(took time.Duration) Pass {
	return func(_ context.Context, key string) (time.Duration, error) {
		r.mu.Lock()
		r.torn = r.torn || r.busy[key]
		r.busy[key] = true
		r.passes[key]++
		r.most = max(r.most, len(r.busy))
		r.mu.Unlock()
		time.Sleep(took) // the bubble's clock
		r.mu.Lock()
		delete(r.busy, key)
		r.mu.Unlock()
		return 0, nil
	}
}

// run runs a loop in a bubble until the test function returns.
func run(t *testing.T, l *Loop, do func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := l.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v", err)
		}
	}()
	do()
	cancel()
	<-ended
}

func TestMarksMerge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		l := New("test", 4, quiet, r.pass(time.Second))
		l.Mark("a") // before it runs
		run(t, l, func() {
			synctest.Wait()
			for range 100 { // while a pass is under way: one more pass, afterwards
				l.Mark("a")
			}
			time.Sleep(10 * time.Second)
		})
		if r.passes["a"] != 2 || r.torn {
			t.Errorf("%d passes, two at once: %v; want 2, false", r.passes["a"], r.torn)
		}
	})
}

func TestParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		l := New("test", 3, quiet, r.pass(time.Second))
		run(t, l, func() {
			for _, key := range []string{"a", "b", "c", "d", "e", "f", "g"} {
				l.Mark(key)
			}
			time.Sleep(10 * time.Second)
		})
		if len(r.passes) != 7 || r.most != 3 {
			t.Errorf("%d keys done, %d at once; want 7, 3", len(r.passes), r.most)
		}
	})
}

// TestFailedKeysStayDirty holds the growing delays, and that a success ends them.
func TestFailedKeysStayDirty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		began := time.Now()
		l := New("test", 1, quiet, func(context.Context, string) (time.Duration, error) {
			at = append(at, time.Since(began))
			if len(at) < 12 {
				return 0, errors.New("no")
			}
			return 0, nil
		})
		l.Mark("a")
		run(t, l, func() { time.Sleep(time.Hour) })
		if len(at) != 12 {
			t.Fatalf("%d passes, want 12", len(at))
		}
		if first := at[1] - at[0]; first != firstDelay {
			t.Errorf("first delay %v, want %v", first, firstDelay)
		}
		for i := 2; i < len(at); i++ {
			delay, before := at[i]-at[i-1], at[i-1]-at[i-2]
			if want := min(2*before, mostDelay); delay != want {
				t.Errorf("delay %d is %v, want %v", i, delay, want)
			}
		}
	})
}

// TestNextLeaderFinishes: a pass that is cut off when the leadership ends is made by whoever leads next.
func TestNextLeaderFinishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		passes := 0
		l := New("test", 1, quiet, func(ctx context.Context, _ string) (time.Duration, error) {
			passes++
			if passes == 1 {
				<-ctx.Done()
				return 0, ctx.Err()
			}
			return 0, nil
		})
		l.Mark("a")
		run(t, l, synctest.Wait)
		run(t, l, func() { time.Sleep(time.Second) })
		if passes != 2 {
			t.Errorf("%d passes, want 2", passes)
		}
	})
}

func TestAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var passes atomic.Int32
		l := New("test", 1, quiet, func(context.Context, string) (time.Duration, error) {
			if passes.Add(1) == 1 {
				return time.Minute, nil
			}
			return 0, nil
		})
		l.Mark("a")
		run(t, l, func() {
			time.Sleep(59 * time.Second)
			if n := passes.Load(); n != 1 {
				t.Errorf("%d passes before the minute is over", n)
			}
			time.Sleep(time.Hour)
		})
		if n := passes.Load(); n != 2 {
			t.Errorf("%d passes, want 2", n)
		}
	})
}
