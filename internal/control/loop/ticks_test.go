package loop_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bakingclouds/rollcall/internal/control/loop"
)

// TestTicks: time passes as it is seen to, and a pause counts for little.
func TestTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var passed atomic.Int64
		calls := 0
		ended := make(chan error)
		go func() {
			ended <- loop.Ticks(ctx, func(elapsed time.Duration) {
				passed.Add(int64(elapsed))
				if calls++; calls == 4 {
					time.Sleep(time.Hour) // the machine stands still
				}
			})
		}()
		time.Sleep(time.Second)
		synctest.Wait()
		if got := time.Duration(passed.Load()); got != time.Second {
			t.Errorf("after a second %v have passed", got)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := time.Duration(passed.Load()); got < time.Second || got > 3*time.Second {
			t.Errorf("after a pause of an hour %v have passed", got)
		}
		cancel()
		if err := <-ended; err != context.Canceled {
			t.Errorf("it ended with %v", err)
		}
	})
}
