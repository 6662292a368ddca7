package apitest

import (
	"sync/atomic"
	"time"
)

// Epoch is the time at which each [Clock] starts.
var Epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Clock is a clock that moves by one step when it is read, so the times of rows follow the order of the calls that
// write them. It is safe for concurrent use.
type Clock struct {
	Step time.Duration // the time that each reading adds

	elapsed atomic.Int64
}

// Now moves the clock by one step and returns its time.
func (c *Clock) Now() time.Time { return Epoch.Add(time.Duration(c.elapsed.Add(int64(c.Step)))) }

// Advance moves the clock by d.
func (c *Clock) Advance(d time.Duration) { c.elapsed.Add(int64(d)) }

// Elapsed returns the time since Epoch.
func (c *Clock) Elapsed() time.Duration { return time.Duration(c.elapsed.Load()) }
