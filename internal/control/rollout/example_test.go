package rollout_test

import (
	"fmt"
	"time"

	"github.com/bakingclouds/rollcall/internal/control/rollout"
	"github.com/bakingclouds/rollcall/internal/task"
)

// A service of two tasks is updated from one deployment to the next. With a minimum of 100 percent, an old task is
// stopped only when a new one serves in its place.
func ExamplePlan() {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	since := now.Add(-time.Minute)
	serving := func(id, deployment string) *task.Task {
		return &task.Task{
			ID: task.ID(id), Deployment: deployment, Desired: task.DesiredRunning,
			Observed: task.Observed{State: task.Running, StartedAt: &since, HealthySince: &since},
		}
	}
	svc := &task.Service{
		Name: "web", Status: task.Active, DesiredCount: 2, MinimumHealthy: 100, Maximum: 200,
		Deployments: []task.Deployment{
			{ID: "new", Rollout: task.InProgress}, // the primary deployment comes first
			{ID: "old", Rollout: task.Completed},
		},
	}

	tasks := rollout.NewServiceTasks(serving("old-1", "old"), serving("old-2", "old"))
	ch := rollout.Plan(svc, tasks, nil, now)
	fmt.Println("start:", ch.Start, "stop:", len(ch.Stop))

	tasks.Replace(nil, serving("new-1", "new"))
	ch = rollout.Plan(svc, tasks, nil, now)
	fmt.Println("start:", ch.Start, "stop:", ch.Stop[0].Task.ID)

	tasks.Replace(nil, serving("new-2", "new"))
	ch = rollout.Plan(svc, tasks, nil, now)
	fmt.Println("start:", ch.Start, "stop:", len(ch.Stop), "completed:", ch.Completed)
	// Output:
	// start: 2 stop: 0
	// start: 1 stop: old-2
	// start: 0 stop: 2 completed: true
}
