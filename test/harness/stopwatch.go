package harness

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A Stopwatch measures how long something takes, with and without the time in which the machine was overloaded.
//
// Tests set upper bounds for an idle machine, and must pass on a busy one too. Linux reports how long processes had to
// wait for a CPU or a disk (pressure stall information, /proc/pressure), so that this time can be left out instead of
// making every bound as wide as the busiest machine needs.
type Stopwatch struct {
	began   time.Time
	stalled time.Duration
}

// StartStopwatch returns a running stopwatch.
func StartStopwatch() Stopwatch { return Stopwatch{time.Now(), stallTime()} }

// Elapsed returns the time on the wall clock since the start. Lower bounds are compared with it.
func (w Stopwatch) Elapsed() time.Duration { return time.Since(w.began) }

// Unstalled returns the time since the start in which no process waited for a CPU or a disk, and at least a tenth of
// all the time, so that a bound is reached on the busiest machine too. Upper bounds are compared with it.
func (w Stopwatch) Unstalled() time.Duration {
	elapsed := w.Elapsed()
	return max(elapsed-(stallTime()-w.stalled), elapsed/10)
}

// stallTime returns how long, since the machine started, at least one process had to wait for a CPU or a disk; zero
// where the system does not report it.
func stallTime() (total time.Duration) {
	for _, resource := range []string{"cpu", "io"} {
		b, err := os.ReadFile("/proc/pressure/" + resource)
		if err != nil {
			continue
		}
		some, _, _ := strings.Cut(string(b), "\n") // some avg10=0.00 avg60=0.00 avg300=0.00 total=MICROSECONDS
		_, micros, _ := strings.Cut(some, "total=")
		n, err := strconv.ParseInt(micros, 10, 64)
		if err == nil {
			total += time.Duration(n) * time.Microsecond
		}
	}
	return total
}

// Eventually waits until cond returns true. The time that it may take excludes the time in which the machine was
// overloaded.
func Eventually(t testing.TB, within time.Duration, what string, cond func() bool) {
	t.Helper()
	watch := StartStopwatch()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		if watch.Unstalled() > within {
			t.Fatalf("not within %v (%v on the wall clock): %s", within, watch.Elapsed().Round(time.Second), what)
		}
		<-tick.C
	}
}

// WaitClosed waits until a channel is closed, as Eventually waits for a condition.
func WaitClosed(t testing.TB, within time.Duration, what string, c <-chan struct{}) {
	t.Helper()
	Eventually(t, within, what, func() bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	})
}
