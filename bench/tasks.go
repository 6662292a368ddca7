package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/agenttest"
	"github.com/bakingclouds/rollcall/internal/agent/docker/image"
	"github.com/bakingclouds/rollcall/internal/agent/process"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/control/drain"
	"github.com/bakingclouds/rollcall/internal/control/publish"
	"github.com/bakingclouds/rollcall/internal/control/registrar"
	"github.com/bakingclouds/rollcall/internal/control/rollout"
	"github.com/bakingclouds/rollcall/internal/control/scheduler"
	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// measureTasks starts a service with many tasks at once, on an in-memory runtime and on processes. It measures the time
// until DNS answers with all of them, and for each task the time from the decision to start it. The baseline of
// processes only starts as many programs.
func measureTasks(ctx context.Context, b *bench) (rows []row, err error) {
	for _, m := range []struct {
		role, what string
		count      int
		bare       bool
	}{
		{"tasks-fake", "Tasks started and in DNS, fake runtime", b.fakes, false},
		{"tasks-process", "Tasks started and in DNS, processes", b.processes, true},
	} {
		b.say("  %d tasks, %s", m.count, m.role)
		got, err := b.startTasks(ctx, m.role, m.count)
		if err != nil {
			return nil, err
		}
		r := row{
			what: fmt.Sprintf("%s (%s at once)", m.what, grouped(int64(m.count))), ours: number(got.PerSecond) + "/s",
			figure: got.PerSecond, target: target{unit: "/s"}, bound: "CPU and fsync: about eight rows written per task",
		}
		if m.bare {
			bare, err := startPrograms(m.count)
			if err != nil {
				return nil, err
			}
			r.baseline, r.figure, r.target = number(bare)+"/s", got.PerSecond/bare, target{}
			r.bound = "as above, and two forked processes per task"
		}
		rows = append(rows, r, row{
			what: "  start to in DNS, median; p99", ours: number(got.Median) + " ms; " + number(got.P99) + " ms",
			figure: got.Median,
			target: target{unit: " ms"}, bound: "tasks before it in the queue",
		}, row{
			what: "  StopTask to SIGTERM, address in no answer, median", ours: number(got.Signaled) + " ms",
			figure: got.Signaled,
			target: target{atMost, 100, " ms"}, bound: "fsync: five transactions, one after the other",
		})
	}
	return rows, nil
}

// startedTasks is the result of a role, with times in milliseconds.
type startedTasks struct {
	PerSecond, Median, P99 float64 // of starts
	Signaled               float64 // from StopTask to SIGTERM, if no answer contained the task's address
}

func (b *bench) startTasks(ctx context.Context, role string, count int) (got startedTasks, err error) {
	dir, err := os.MkdirTemp("", "rollcall-bench-")
	if err != nil {
		return got, err
	}
	defer os.RemoveAll(dir)
	p, err := start(ctx, role, roleArgs{Dir: dir, Instances: count, Profile: b.profile}, &got)
	if err != nil {
		return got, err
	}
	return got, p.stop()
}

// startPrograms starts count programs and returns the number per second.
func startPrograms(count int) (perSecond float64, err error) {
	programs := make([]*exec.Cmd, count)
	defer func() {
		for _, p := range programs {
			if p != nil && p.Process != nil {
				p.Process.Kill()
				p.Wait()
			}
		}
	}()
	began := time.Now()
	for k := range programs {
		programs[k] = exec.Command(sleeper[0], sleeper[1:]...)
		programs[k].SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := programs[k].Start(); err != nil {
			return 0, err
		}
	}
	return float64(count) / time.Since(began).Seconds(), nil
}

// sleeper is the program of the tasks.
var sleeper = []string{"sleep", "3600"}

func runFakeTasks(ctx context.Context, args roleArgs, ready func(any)) error {
	rt := agenttest.New()
	return runTasks(ctx, args, rt, rt.Close, ready)
}

func runProcessTasks(ctx context.Context, args roleArgs, ready func(any)) error {
	rt, err := process.New(ctx, process.Config{Dir: args.Dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	return runTasks(ctx, args, rt, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), roleTimeout)
		defer cancel()
		sandboxes, err := rt.Sandboxes(ctx)
		for _, sandbox := range sandboxes {
			err = errors.Join(err, rt.Remove(ctx, sandbox.TaskID))
		}
		return errors.Join(err, rt.Shutdown(ctx), rt.Close())
	}, ready)
}

// runTasks runs a node with all its loops, as package app builds it, and one service.
func runTasks(ctx context.Context, args roleArgs, rt agent.Runtime, end func() error, ready func(any)) (err error) {
	defer func() { err = errors.Join(err, end()) }()
	log := slog.New(slog.DiscardHandler)
	node, err := open(ctx, args.Dir, log)
	if err != nil {
		return err
	}
	defer node.close()
	db := node.db
	dir := directory.New()
	publish.Follow(db, dir, func(string, string) (in, except []netip.Prefix) { return nil, nil })
	seen := watchTasks(db, args.Instances)

	ids := map[string]string{}
	if err := populate(ctx, db, ids); err != nil {
		return err
	}
	loops := []interface{ Run(context.Context) error }{
		rollout.New(db, log), scheduler.New(db, log), registrar.New(db, log, "a", time.Minute),
		drain.New(db, dir, benchNode, log),
		agent.New(db, rt, agent.Config{Node: benchNode, Log: log}),
	}
	running, stop := context.WithCancel(ctx)
	var g errgroup.Group
	for _, l := range loops {
		g.Go(func() error { return l.Run(running) })
	}
	defer func() { stop(); g.Wait() }() // each of them ends when the context is canceled

	leave, err := task.KeepAlive(ctx, db, benchNode)
	if err != nil {
		return err
	}
	defer leave()
	began := time.Now()
	if err := createTasks(ctx, db, rt.Name(), ids[targetService], args.Instances); err != nil {
		return err
	}
	select {
	case <-seen.all:
	case <-time.After(roleTimeout):
		return fmt.Errorf("%d of %d tasks are in DNS after %v", len(seen.took), args.Instances, roleTimeout)
	}
	got := startedTasks{
		PerSecond: float64(args.Instances) / time.Since(began).Seconds(), Median: median(seen.took),
		P99: quantile(seen.took, 0.99),
	}
	if got.Signaled, err = stopTasks(ctx, db); err != nil {
		return err
	}
	ready(got)
	<-ctx.Done()
	return nil
}

const benchNode = "bench"

// createTasks creates a node and a service with the given number of tasks, registered in Cloud Map.
func createTasks(ctx context.Context, db *store.Store, runtime, registryID string, count int) error {
	sc := arn.Scope{Account: account, Region: region}
	main := task.ContainerDefinition{Name: "main", Image: "none", Essential: true, Command: sleeper}
	if runtime == "docker" { // the image's own program, which only waits
		main.Image, main.Command = image.Sample, []string{"rollcall", "pause"}
	}
	_, err := store.Update(ctx, db, func(tx *store.Tx) (struct{}, error) {
		now := time.Now()
		task.PutNode(tx, task.Node{Name: benchNode, Runtime: runtime, Address: "127.0.0.1", Started: now})
		task.CreateCluster(tx, task.Cluster{Account: account, Region: region, Name: task.DefaultCluster}, now)
		def := task.RegisterDefinition(tx, sc, task.Definition{
			Family: "sleeper", NetworkMode: agent.NetworkAWSVPC,
			Containers: []task.ContainerDefinition{main},
		}, now)
		svc := task.Service{
			Account: account, Region: region, Cluster: task.DefaultCluster, Name: "sleeper", Status: task.Active,
			LaunchType:   task.EC2,
			DesiredCount: count, MinimumHealthy: 100, Maximum: 200, Created: now,
		}
		ids := task.NewDeploymentIDs()
		d := task.NewDeployment(task.Deployment{
			ID: ids.Deployment, Family: def.Family, Revision: def.Revision, Registries: []task.Registry{{ServiceID: registryID}},
		}, now)
		task.Deploy(tx, &svc, d, ids.ServiceDeployment, nil, now)
		task.PutService(tx, svc)
		return struct{}{}, nil
	})
	return err
}

// stopped is the number of tasks that are stopped, one after the other.
const stopped = 5

// stopTasks stops some of the service's tasks and returns the median time until SIGTERM in milliseconds. They are
// replaced, which makes the next wait slightly longer.
func stopTasks(ctx context.Context, db *store.Store) (signaled float64, err error) {
	sc := arn.Scope{Account: account, Region: region}
	stopping := make(chan task.ID, 1000)
	db.Follow(func(c store.Change) {
		for _, row := range c.Rows {
			if t, ok := row.New.(*task.Task); ok && t.Observed.State >= task.Stopping {
				select {
				case stopping <- t.ID:
				default: // the measurement has ended
				}
			}
		}
	})
	var took []float64
	tasks := task.TasksOf(db.Snapshot(), task.ServiceRef{Scope: sc, Cluster: task.DefaultCluster, Name: "sleeper"})
	for _, t := range tasks[:min(stopped, len(tasks))] {
		began := time.Now()
		_, err := store.Update(ctx, db, func(tx *store.Tx) (struct{}, error) {
			_, _, err := task.Stop(tx, t.Ref(), task.StopCause{Code: task.ServiceSchedulerInitiated, Reason: "measured"},
				time.Now())
			return struct{}{}, err
		})
		if err != nil {
			return 0, err
		}
		for id := task.ID(""); id != t.ID; {
			select {
			case id = <-stopping:
			case <-time.After(roleTimeout):
				return 0, fmt.Errorf("task %s received no SIGTERM within %v", t.ID, roleTimeout)
			}
		}
		took = append(took, float64(time.Since(began))/float64(time.Millisecond))
	}
	return median(took), nil
}

// seenTasks measures the time from the decision to start each task until its instance is answered.
type seenTasks struct {
	mu      sync.Mutex
	created map[string]time.Time // by id
	took    []float64            // milliseconds; complete when the channel all is closed
	all     chan struct{}
}

// watchTasks follows db after the directory does, so DNS already answers with the instances that it sees.
func watchTasks(db *store.Store, count int) *seenTasks {
	s := &seenTasks{created: map[string]time.Time{}, all: make(chan struct{})}
	db.Follow(func(c store.Change) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, row := range c.Rows {
			switch v := row.New.(type) {
			case *task.Task:
				if _, known := s.created[string(v.ID)]; !known {
					s.created[string(v.ID)] = v.Created
				}
			case *registry.Instance:
				created, waiting := s.created[v.ID]
				if !waiting || created.IsZero() || v.Health != registry.Healthy {
					continue
				}
				s.created[v.ID] = time.Time{}
				if s.took = append(s.took, float64(time.Since(created))/float64(time.Millisecond)); len(s.took) == count {
					close(s.all)
				}
			}
		}
	})
	return s
}
