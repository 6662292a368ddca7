package docker

import (
	"slices"
	"time"

	"github.com/bakingclouds/rollcall/internal/dockerrun"
)

// restarts decides whether a container that ended by itself is started anew (ECS Developer Guide, "Restart individual
// containers in Amazon ECS tasks with container restart policies"): not after an exit code that is ignored, nor when it has
// run for less than the period.
func restarts(p *dockerrun.RestartPolicy, exitCode int, started, ended time.Time) bool {
	return p != nil && !slices.Contains(p.Ignored, exitCode) && ended.Sub(started) >= p.Period
}
