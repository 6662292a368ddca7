package rollout

import (
	"strings"
	"testing"

	"github.com/bakingclouds/rollcall/internal/task"
)

// BenchmarkPlan measures one plan of a service of 10,000 tasks: with all tasks to be grouped first, and after one
// task has ended.
func BenchmarkPlan(b *testing.B) {
	const size = 10_000
	svc := service(size, 100, 200)
	tasks := parseTasks(strings.Repeat("r", size))
	b.Run("whole", func(b *testing.B) {
		for b.Loop() {
			if ch := Plan(svc, NewServiceTasks(tasks...), nil, noon); !ch.Completed {
				b.Fatal(ch)
			}
		}
	})
	b.Run("one", func(b *testing.B) {
		grouped := NewServiceTasks(tasks...)
		up := tasks[size/2]
		down := *up
		down.Desired, down.StopCode, down.Observed.State = task.DesiredStopped, task.UserInitiated, task.Stopped
		for b.Loop() {
			grouped.Replace(up, &down)
			if ch := Plan(svc, grouped.Copy(), nil, noon); ch.Start != 1 {
				b.Fatal(ch)
			}
			grouped.Replace(&down, up)
		}
	})
}
