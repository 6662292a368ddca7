package loop_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bakingclouds/rollcall/internal/control/loop"
)

// TestTicks checks that elapsed adds up to the time that passes, and that a pause counts for at most two ticks.
func TestTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var total atomic.Int64
		calls := 0
		ended := make(chan error)
		go func() {
			ended <- loop.Ticks(ctx, func(elapsed time.Duration) {
				total.Add(int64(elapsed))
				if calls++; calls == 4 {
					time.Sleep(time.Hour) // a pause
				}
			})
		}()
		time.Sleep(time.Second)
		synctest.Wait()
		if got := time.Duration(total.Load()); got != time.Second {
			t.Errorf("elapsed after a second: %v", got)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := time.Duration(total.Load()); got < time.Second || got > 3*time.Second {
			t.Errorf("elapsed after a pause of an hour: %v, want up to 3s", got)
		}
		cancel()
		if err := <-ended; err != context.Canceled {
			t.Errorf("Ticks = %v, want %v", err, context.Canceled)
		}
	})
}
