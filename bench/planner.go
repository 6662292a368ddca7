package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/bakingclouds/rollcall/internal/control/rollout"
	"github.com/bakingclouds/rollcall/internal/task"
)

// measurePlanner compares the planner's cost of one changed task between a large and a small service, and measures a
// full plan, including sorting all tasks.
func measurePlanner(_ context.Context, b *bench) ([]row, error) {
	one, err := compare(b.turns, planOneChange(b.serviceTasks, b.taskChanges), planOneChange(b.small, b.taskChanges))
	if err != nil {
		return nil, err
	}
	var whole []float64
	for range b.turns {
		took, err := planUpdate(b.serviceTasks)
		if err != nil {
			return nil, err
		}
		whole = append(whole, took)
	}
	ms := median(whole)
	return []row{{
		what: fmt.Sprintf("Planner: one changed task, service of %s against %s", grouped(int64(b.serviceTasks)),
			grouped(int64(b.small))),
		ours: number(one.ours) + " µs", baseline: number(one.baseline) + " µs", figure: one.ratio,
		target: target{rule: atMost, limit: 2}, bound: "copies of tree nodes on the path to the task",
	}, {
		what: fmt.Sprintf("Planner: a full plan over %s tasks", grouped(int64(b.serviceTasks))),
		ours: number(ms) + " ms", figure: ms,
		target: target{rule: atMost, limit: 50, unit: " ms"}, bound: "sorting the tasks",
	}}, nil
}

// runningService returns a service whose desired number of tasks is running.
func runningService(size int) (*task.Service, []*task.Task) {
	start := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	svc := &task.Service{
		Name: "web", Status: task.Active, DesiredCount: size, MinimumHealthy: 100, Maximum: 200,
		Deployments: []task.Deployment{{ID: "ecs-svc/1", Rollout: task.Completed}},
	}
	tasks := make([]*task.Task, size)
	for i := range tasks {
		since := start.Add(time.Duration(i) * time.Millisecond)
		tasks[i] = &task.Task{
			ID: task.ID(strconv.Itoa(i)), Service: svc.Name, Deployment: svc.Primary().ID, Desired: task.DesiredRunning,
			Created:  since,
			Observed: task.Observed{State: task.Running, StartedAt: &since, HealthySince: &since},
		}
	}
	return svc, tasks
}

// planOneChange returns a function that n times ends a task and restores it, with a plan after each change, and returns
// the microseconds per plan.
func planOneChange(size, n int) func() (float64, error) {
	svc, tasks := runningService(size)
	serviceTasks := rollout.NewServiceTasks(tasks...)
	now := tasks[0].Created.Add(time.Hour)
	return func() (float64, error) {
		began := time.Now()
		for i := range n {
			up := tasks[i*7919%size]
			down := *up
			down.Desired, down.StopCode, down.StoppingAt = task.DesiredStopped, task.UserInitiated, &now
			down.Observed.State = task.Stopped
			serviceTasks.Replace(up, &down)
			if ch := rollout.Plan(svc, serviceTasks.Copy(), nil, now); ch.Start != 1 {
				return 0, fmt.Errorf("after one of %d tasks has ended, the plan starts %d, want 1", size, ch.Start)
			}
			serviceTasks.Replace(&down, up)
			if ch := rollout.Plan(svc, serviceTasks.Copy(), nil, now); ch.Start != 0 || !ch.Steady {
				return 0, fmt.Errorf("while all %d tasks run, the plan starts %d, want 0 and Steady", size, ch.Start)
			}
		}
		return micros(time.Since(began)) / float64(2*n), nil
	}
}

// planUpdate sorts the tasks and plans an update of all of them, and returns the milliseconds.
func planUpdate(size int) (float64, error) {
	svc, tasks := runningService(size)
	svc.Deployments = append([]task.Deployment{{ID: "ecs-svc/2", Rollout: task.InProgress}}, svc.Deployments...)
	began := time.Now()
	ch := rollout.Plan(svc, rollout.NewServiceTasks(tasks...), nil, tasks[0].Created.Add(time.Hour))
	took := time.Since(began)
	if ch.Start == 0 {
		return 0, fmt.Errorf("the plan for an update of %d tasks starts none", size)
	}
	return micros(took) / 1000, nil
}
