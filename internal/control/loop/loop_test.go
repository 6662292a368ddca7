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

var discard = slog.New(slog.DiscardHandler)

// recorder counts the calls for each key and how many ran at the same time.
type recorder struct {
	mu      sync.Mutex
	busy    map[string]bool
	calls   map[string]int
	most    int  // calls at the same time
	overlap bool // two calls for one key ran at the same time
}

func newRecorder() *recorder { return &recorder{busy: map[string]bool{}, calls: map[string]int{}} }

// reconcile returns a function that takes the given time for each call.
func (r *recorder) reconcile(duration time.Duration) ReconcileFunc {
	return func(_ context.Context, key string) (time.Duration, error) {
		r.mu.Lock()
		r.overlap = r.overlap || r.busy[key]
		r.busy[key] = true
		r.calls[key]++
		r.most = max(r.most, len(r.busy))
		r.mu.Unlock()
		time.Sleep(duration) // by the clock of the synctest bubble
		r.mu.Lock()
		delete(r.busy, key)
		r.mu.Unlock()
		return 0, nil
	}
}

// run runs a loop until do returns.
func run(t *testing.T, l *Loop, do func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := l.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v, want %v", err, context.Canceled)
		}
	}()
	do()
	cancel()
	<-ended
}

func TestMarksMerge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		l := New("test", 4, discard, r.reconcile(time.Second))
		l.Mark("a") // before Run
		run(t, l, func() {
			synctest.Wait()
			for range 100 { // during the first call; they cause one more call
				l.Mark("a")
			}
			time.Sleep(10 * time.Second)
		})
		if r.calls["a"] != 2 || r.overlap {
			t.Errorf("%d calls, overlap %v; want 2, false", r.calls["a"], r.overlap)
		}
	})
}

func TestParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		l := New("test", 3, discard, r.reconcile(time.Second))
		run(t, l, func() {
			for _, key := range []string{"a", "b", "c", "d", "e", "f", "g"} {
				l.Mark(key)
			}
			time.Sleep(10 * time.Second)
		})
		if len(r.calls) != 7 || r.most != 3 {
			t.Errorf("%d keys reconciled, %d at the same time; want 7, 3", len(r.calls), r.most)
		}
	})
}

// TestFailedKeysStayDirty checks that the delay doubles with each failure and that a success ends the retries.
func TestFailedKeysStayDirty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		start := time.Now()
		l := New("test", 1, discard, func(context.Context, string) (time.Duration, error) {
			at = append(at, time.Since(start))
			if len(at) < 12 {
				return 0, errors.New("failed")
			}
			return 0, nil
		})
		l.Mark("a")
		run(t, l, func() { time.Sleep(time.Hour) })
		if len(at) != 12 {
			t.Fatalf("%d calls, want 12", len(at))
		}
		if first := at[1] - at[0]; first != firstDelay {
			t.Errorf("first delay %v, want %v", first, firstDelay)
		}
		for i := 2; i < len(at); i++ {
			delay, before := at[i]-at[i-1], at[i-1]-at[i-2]
			if want := min(2*before, maxDelay); delay != want {
				t.Errorf("delay %d is %v, want %v", i, delay, want)
			}
		}
	})
}

// TestCanceledKeyStaysDirty checks that the next Run repeats a call that was canceled.
func TestCanceledKeyStaysDirty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		l := New("test", 1, discard, func(ctx context.Context, _ string) (time.Duration, error) {
			calls++
			if calls == 1 {
				<-ctx.Done()
				return 0, ctx.Err()
			}
			return 0, nil
		})
		l.Mark("a")
		run(t, l, synctest.Wait)
		run(t, l, func() { time.Sleep(time.Second) })
		if calls != 2 {
			t.Errorf("%d calls, want 2", calls)
		}
	})
}

func TestAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		l := New("test", 1, discard, func(context.Context, string) (time.Duration, error) {
			if calls.Add(1) == 1 {
				return time.Minute, nil
			}
			return 0, nil
		})
		l.Mark("a")
		run(t, l, func() {
			time.Sleep(59 * time.Second)
			if n := calls.Load(); n != 1 {
				t.Errorf("%d calls before the minute is over, want 1", n)
			}
			time.Sleep(time.Hour)
		})
		if n := calls.Load(); n != 2 {
			t.Errorf("%d calls, want 2", n)
		}
	})
}
