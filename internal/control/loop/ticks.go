package loop

import (
	"context"
	"time"
)

// tick is how often [Ticks] calls.
const tick = 250 * time.Millisecond

// Ticks calls pass every quarter of a second until ctx ends, whose error it returns, with the time that this
// process has seen pass since the call before. A call that comes late, because the process or its machine did
// not run, is told of two ticks at the most, so that a pause, or a clock that was set, lets nothing run out.
func Ticks(ctx context.Context, pass func(elapsed time.Duration)) error {
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
		pass(min(now.Sub(last), 2*tick))
		last = now
	}
}
