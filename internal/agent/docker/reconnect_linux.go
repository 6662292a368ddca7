package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
	"github.com/bakingclouds/rollcall/internal/agent/docker/translate"
)

// Times of the connection to the engine.
const (
	minReconnectWait = 10 * time.Millisecond
	maxReconnectWait = 2 * time.Second
	stableAfter      = time.Minute      // a connection that lasted this long resets the wait
	pingInterval     = 10 * time.Second // an engine that hangs does not close the event stream
	pingTimeout      = 5 * time.Second  // also for the event stream to open
)

// followEngine follows the engine's events until Close, and reconnects when the engine does not answer. The result of
// the first listing is sent to first.
func (r *Runtime) followEngine(first chan<- error) {
	report := func(err error) {
		select {
		case first <- err:
		default:
		}
	}
	for wait := minReconnectWait; ; wait = min(2*wait, maxReconnectWait) {
		began := time.Now()
		err := r.followEvents(func() { report(nil) })
		if r.ctx.Err() != nil {
			return
		}
		report(err)
		r.setEngineErr(err)
		if time.Since(began) > stableAfter {
			wait = minReconnectWait
		}
		select {
		case <-r.ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// setEngineErr stores why the engine does not answer, or, with nil, that it does.
func (r *Runtime) setEngineErr(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err != nil && r.engineErr == nil:
		r.log.Warn("the Docker Engine does not answer; containers keep running, and their ends are still noticed",
			"err", err)
	case err == nil && r.engineErr != nil:
		r.log.Info("the Docker Engine answers again")
	}
	r.engineErr = err
}

// followEvents follows one event stream until it ends. It opens the stream before it lists the containers, so that it
// misses no change in between.
func (r *Runtime) followEvents(listed func()) error {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	stream, err := r.openEvents(ctx)
	if err != nil {
		return err
	}
	if err := r.list(ctx); err != nil {
		return err
	}
	listed()
	r.setEngineErr(nil)
	r.renewLinks() // an engine that was restarted may have replaced its interfaces
	lost := make(chan error, 1)
	go func() { lost <- r.pingUntilError(ctx) }()
	for {
		select {
		case m := <-stream.Messages:
			r.handleEvent(m)
		case err := <-stream.Err:
			if errors.Is(err, io.EOF) {
				err = errors.New("docker: the engine closed the event stream")
			}
			return err
		case err := <-lost:
			return err
		}
	}
}

func (r *Runtime) openEvents(ctx context.Context) (client.EventsResult, error) {
	opened := make(chan client.EventsResult, 1)
	go func() {
		opened <- r.engine.Events(ctx, client.EventsListOptions{Filters: make(client.Filters).
			Add("type", string(events.ContainerEventType), string(events.NetworkEventType)).
			Add("event", "start", "die", "oom", "pause", "unpause", "destroy", "health_status", "disconnect")})
	}()
	select {
	case stream := <-opened:
		return stream, nil
	case <-time.After(pingTimeout):
		return client.EventsResult{}, fmt.Errorf("docker: the event stream did not open within %v", pingTimeout)
	}
}

// pingUntilError pings the engine regularly and returns the first error.
func (r *Runtime) pingUntilError(ctx context.Context) error {
	tick := time.NewTicker(pingInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if err := r.ping(ctx, pingTimeout); err != nil {
			return engineapi.Error(err)
		}
	}
}

func (r *Runtime) ping(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err := r.engine.Ping(ctx, client.PingOptions{})
	return err
}

// handleEvent reads the state of the container that an event is about. It does not use the event's contents, since
// events may be late.
func (r *Runtime) handleEvent(m events.Message) {
	id := m.Actor.ID
	if m.Type == events.NetworkEventType {
		id = m.Actor.Attributes["container"]
	}
	r.mu.Lock()
	key, known := r.byEngineID[id]
	sb := r.tasks[key.taskID]
	r.mu.Unlock()
	if !known || sb == nil {
		return
	}
	go r.refreshOrLog(sb, key.container)
}

// list compares the engine's containers with the tasks, and reads the state of each.
func (r *Runtime) list(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, engineapi.CallTimeout)
	defer cancel()
	list, err := r.engine.ContainerList(ctx, client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("label", engineapi.LabelOwner+"="+r.owner),
	})
	if err != nil {
		return engineapi.Error(err)
	}
	tasks := r.allTasks()
	for i := range list.Items {
		if err := r.adopt(&list.Items[i]); err != nil {
			return err
		}
	}
	var all errgroup.Group
	all.SetLimit(2 * runtime.GOMAXPROCS(0))
	for _, sb := range tasks {
		for name := range sb.locks {
			if !sb.has(name) {
				continue
			}
			all.Go(func() error {
				if err := r.refresh(ctx, sb, name); err != nil {
					return err
				}
				if name != translate.PauseName {
					r.copyLog(sb, name)
				}
				return nil
			})
		}
	}
	if err := all.Wait(); err != nil {
		return fmt.Errorf("docker: read the state of the containers: %w", err)
	}
	return nil
}

func (r *Runtime) allTasks() []*sandbox {
	r.mu.Lock()
	defer r.mu.Unlock()
	tasks := make([]*sandbox, 0, len(r.tasks))
	for _, sb := range r.tasks {
		tasks = append(tasks, sb)
	}
	return tasks
}

// adopt remembers which task a listed container belongs to.
func (r *Runtime) adopt(c *container.Summary) error {
	taskID, name := c.Labels[engineapi.LabelTask], c.Labels[engineapi.LabelContainer]
	if taskID == "" {
		return nil // a self-test
	}
	sb := r.find(taskID)
	if sb == nil || sb.locks[name] == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.orphans[taskID] = true
		return nil
	}
	if sb.engineID(name) == "" { // created just before a crash
		if err := sb.update(name, func(rec *storedContainer) { rec.Engine = c.ID }); err != nil {
			return err
		}
	}
	r.setEngineID(c.ID, containerKey{taskID, name})
	return nil
}
