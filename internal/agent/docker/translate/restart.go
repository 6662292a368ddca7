package translate

import (
	"slices"
	"time"

	"github.com/bakingclouds/rollcall/internal/engineopts"
)

// ShouldRestart reports whether a container that has ended by itself is started again. It is not if its exit code is
// ignored, or if it ran for less than the policy's period (ECS Developer Guide, "Restart individual containers in
// Amazon ECS tasks with container restart policies").
func ShouldRestart(p *engineopts.RestartPolicy, exitCode int, started, ended time.Time) bool {
	// The engine reads the two times from different clocks, so a container that ends immediately can end before it
	// starts.
	ran := max(0, ended.Sub(started))
	return p != nil && !slices.Contains(p.Ignored, exitCode) && ran >= p.Period
}
