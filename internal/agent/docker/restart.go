package docker

import (
	"slices"
	"time"

	"github.com/bakingclouds/rollcall/internal/engineopts"
)

// restarts decides whether a container that ended by itself is started anew (ECS Developer Guide, "Restart individual
// containers in Amazon ECS tasks with container restart policies"): not after an exit code that is ignored, nor when it has
// run for less than the period.
func restarts(p *engineopts.RestartPolicy, exitCode int, started, ended time.Time) bool {
	// The engine takes the two times from two clocks: of what ends at once, the end may come before the start.
	ran := max(0, ended.Sub(started))
	return p != nil && !slices.Contains(p.Ignored, exitCode) && ran >= p.Period
}
