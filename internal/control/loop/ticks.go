package loop

import (
	"context"
	"time"
)

// tick is the interval of [Ticks].
const tick = 250 * time.Millisecond

// Ticks calls fn every quarter of a second until ctx is done, and returns ctx's error. elapsed is the time since the
// previous call, but at most two ticks: if the process was stopped, the machine slept or the clock was set, the time
// that passed without this process counts for almost nothing, so no timeout expires because of a pause.
func Ticks(ctx context.Context, fn func(elapsed time.Duration)) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		now := time.Now()
		fn(min(now.Sub(last), 2*tick))
		last = now
	}
}
