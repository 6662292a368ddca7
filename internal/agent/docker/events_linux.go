package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
	"github.com/bakingclouds/rollcall/internal/agent/docker/pidwatch"
	"github.com/bakingclouds/rollcall/internal/agent/docker/translate"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/containerlog"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// The pace of following the engine.
const (
	reconnectMaxWait = 2 * time.Second
	pulse            = 10 * time.Second // how often the engine is asked whether it is there, which its events do not tell
	pulseTimeout     = 5 * time.Second
	slowWait         = time.Minute     // how long it has where it is only slow
	unseenWait       = 3 * time.Second // how long the engine has to tell of an end that the kernel has told
)

const (
	reasonRemoved = "The container was removed outside of Rollcall (docker rm)"
	reasonUnseen  = "The container's process has ended; the Docker Engine does not answer, so its exit code is unknown"
)

// follow takes in the engine's events until Close. The result of the first listing goes to first.
func (r *Runtime) follow(first chan<- error) {
	report := func(err error) {
		select {
		case first <- err:
		default:
		}
	}
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, reconnectMaxWait) {
		began := time.Now()
		err := r.followOnce(func() { report(nil) })
		if r.ctx.Err() != nil {
			return
		}
		report(err)
		r.setTrouble(err)
		if time.Since(began) > time.Minute {
			wait = 10 * time.Millisecond
		}
		select {
		case <-r.ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// setTrouble notes that the engine does not answer (any more), or that it does again.
func (r *Runtime) setTrouble(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err != nil && r.trouble == nil:
		r.log.Warn("the Docker Engine does not answer; containers go on as they are, and their ends are still noticed", "err", err)
	case err == nil && r.trouble != nil:
		r.log.Info("the Docker Engine answers again")
	}
	r.trouble = err
}

// followOnce follows one stream of events. It listens first and then lists, so that nothing is missed in between.
func (r *Runtime) followOnce(listed func()) error {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	connected := make(chan client.EventsResult, 1)
	go func() {
		connected <- r.engine.Events(ctx, client.EventsListOptions{Filters: make(client.Filters).
			Add("type", string(events.ContainerEventType), string(events.NetworkEventType)).
			Add("event", "start", "die", "oom", "pause", "unpause", "destroy", "health_status", "disconnect")})
	}()
	var stream client.EventsResult
	select {
	case stream = <-connected:
	case <-time.After(pulseTimeout):
		return errors.New("docker: its events are not to be had")
	}
	if err := r.list(ctx); err != nil {
		return err
	}
	listed()
	r.setTrouble(nil)
	r.renewLinks() // an engine that was restarted may have made its interfaces anew
	lost := make(chan error, 1)
	go func() { lost <- r.takePulse(ctx) }()
	for {
		select {
		case m := <-stream.Messages:
			r.take(m)
		case err := <-stream.Err:
			if errors.Is(err, io.EOF) {
				err = errors.New("docker: it has ended the stream of events")
			}
			return err
		case err := <-lost:
			return err
		}
	}
}

// takePulse asks the engine again and again whether it is there, and says when it is not.
func (r *Runtime) takePulse(ctx context.Context) error {
	tick := time.NewTicker(pulse)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		within, cancel := context.WithTimeout(ctx, pulseTimeout)
		_, err := r.engine.Ping(within, client.PingOptions{})
		cancel()
		if err != nil {
			return engineapi.Error(err)
		}
	}
}

// take takes in one event: what it means is looked up, since events may come late.
func (r *Runtime) take(m events.Message) {
	id := m.Actor.ID
	if m.Type == events.NetworkEventType {
		id = m.Actor.Attributes["container"]
	}
	r.mu.Lock()
	key, ours := r.byEngine[id]
	b := r.tasks[key.taskID]
	r.mu.Unlock()
	if !ours || b == nil {
		return
	}
	go r.look(b, key.container)
}

// look is refresh for those who cannot be told of an error: the next listing sees what it missed.
func (r *Runtime) look(b *sandbox, name string) {
	ctx, cancel := context.WithTimeout(r.ctx, engineapi.CallTimeout)
	defer cancel()
	if err := r.refresh(ctx, b, name); err != nil && r.ctx.Err() == nil && !fault.Is(err, fault.Unavailable) {
		r.log.Error("a container's state cannot be read", "task", b.record.Spec.ID, "container", name, "err", err)
	}
}

// refresh takes in what the engine shows of a container.
func (r *Runtime) refresh(ctx context.Context, b *sandbox, name string) error {
	id := b.engineID(name)
	if id == "" {
		return nil
	}
	seen, err := r.engine.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if errdefs.IsNotFound(err) {
		r.gone(b, name, reasonRemoved)
		return nil
	}
	if err != nil {
		return engineapi.Error(err)
	}
	b.mu.Lock()
	rec := *b.find(name)
	stopping := b.stopping[name]
	spec := &b.record.Spec
	network := b.record.Network
	b.mu.Unlock()
	s := rec.status(name, translate.Status(&seen.Container, r.networkName(network), rec.Address))
	if s.Running() {
		r.watch(b, name, seen.Container.State.Pid)
	}
	if name != translate.PauseName && rec.End == nil && !stopping && s.Ended() && s.ExitCode != nil && r.restart(b, name, spec, s) {
		return nil
	}
	if !b.seen(s) {
		return nil
	}
	if name == translate.PauseName {
		if s.Ended() {
			r.lostNetwork(b, s.Reason)
		}
		return nil
	}
	r.tell(b, name)
	return nil
}

// tell passes a container's status on.
func (r *Runtime) tell(b *sandbox, name string) {
	id, s := b.record.Spec.ID, b.statusOf(name)
	r.inbox.Put(containerKey{id, name}, agent.Event{TaskID: id, Status: s})
	if s.Ended() {
		r.followers.End(id, name)
	}
}

// gone takes in that a container has ended, which the engine does not show.
func (r *Runtime) gone(b *sandbox, name, reason string) {
	changed, err := b.end(name, reason)
	if err != nil {
		r.log.Error("the end of a container cannot be kept", "task", b.record.Spec.ID, "container", name, "err", err)
	}
	if !changed {
		return
	}
	if name == translate.PauseName {
		r.lostNetwork(b, reason)
		return
	}
	r.tell(b, name)
}

// lostNetwork ends the containers of a task whose pause container, and with it their network, is gone.
func (r *Runtime) lostNetwork(b *sandbox, why string) {
	b.mu.Lock()
	ending := b.stopping[translate.PauseName]
	b.mu.Unlock()
	if ending {
		return
	}
	reason := "The task's network is gone: its pause container has ended"
	if why != "" {
		reason = "The task's network is gone, with its pause container: " + why
	}
	for _, c := range b.record.Spec.Containers {
		r.gone(b, c.Name, reason)
	}
}

// watch follows a container's main process, so that its end is known also while the engine does not answer.
func (r *Runtime) watch(b *sandbox, name string, pid int) {
	if !pidwatch.InContainer(pid, b.engineID(name)) {
		return // of another pid namespace: the engine's events have to do
	}
	r.pids.Watch(pid, func() {
		if !r.endSeen(b, name, pid) && r.ctx.Err() == nil {
			r.gone(b, name, reasonUnseen)
		}
	})
}

// pings reports whether the engine answers at all.
func (r *Runtime) pings() bool {
	ctx, cancel := context.WithTimeout(r.ctx, unseenWait)
	defer cancel()
	_, err := r.engine.Ping(ctx, client.PingOptions{})
	return err == nil
}

// endSeen asks the engine about a container whose main process has ended until it has seen that, or restarted it, and
// gives up when it does not answer.
func (r *Runtime) endSeen(b *sandbox, name string, pid int) bool {
	began, answered := time.Now(), time.Now()
	for wait := 5 * time.Millisecond; time.Since(answered) < unseenWait; wait = min(2*wait, unseenWait/4) {
		ctx, cancel := context.WithTimeout(r.ctx, unseenWait)
		seen, err := r.engine.ContainerInspect(ctx, b.engineID(name), client.ContainerInspectOptions{})
		cancel()
		switch {
		case r.ctx.Err() != nil:
			return false
		case err == nil && seen.Container.State.Running && seen.Container.State.Pid == pid:
			answered = time.Now() // it takes a moment to see it
		case err == nil || errdefs.IsNotFound(err):
			r.look(b, name)
			return true
		case time.Since(began) < slowWait && r.pings():
			answered = time.Now() // it is busy with just this end
		}
		select {
		case <-r.ctx.Done():
			return false
		case <-time.After(wait):
		}
	}
	return false
}

// restart starts a container anew that has ended by itself, where its policy says so.
func (r *Runtime) restart(b *sandbox, name string, spec *agent.TaskSpec, s agent.ContainerStatus) bool {
	for i := range spec.Containers {
		c := &spec.Containers[i]
		if c.Name != name || !translate.ShouldRestart(c.Options.Restart, *s.ExitCode, s.StartedAt, s.FinishedAt) {
			continue
		}
		go func() {
			work := b.work[name]
			work.Lock()
			defer work.Unlock()
			r.startAgain(b, name, s.StartedAt)
		}()
		return true
	}
	return false
}

// startAgain starts a container that has ended by itself, unless it shall stop meanwhile, or was started since: an end is told
// more than once. Its work is held.
func (r *Runtime) startAgain(b *sandbox, name string, started time.Time) {
	ctx, cancel := context.WithTimeout(r.ctx, startTimeout)
	defer cancel()
	id := b.engineID(name)
	b.mu.Lock()
	stopping := b.stopping[name]
	b.mu.Unlock()
	seen, err := r.engine.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if stopping || err != nil || !translate.Time(seen.Container.State.StartedAt).Equal(started) {
		r.look(b, name)
		return
	}
	_, err = r.engine.ContainerStart(ctx, id, client.ContainerStartOptions{})
	switch {
	case err == nil:
		r.followLog(b, name)
		r.look(b, name)
	case engineapi.Unreachable(err): // the next listing finds it as it is, and decides anew
	default:
		r.gone(b, name, "CannotStartContainerError: it ended and cannot be restarted: "+engineapi.Message(err))
	}
}

// list compares the engine's containers with the records.
func (r *Runtime) list(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, engineapi.CallTimeout)
	defer cancel()
	list, err := r.engine.ContainerList(within, client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("label", engineapi.LabelOwner+"="+r.owner),
	})
	if err != nil {
		return engineapi.Error(err)
	}
	r.mu.Lock()
	tasks := make([]*sandbox, 0, len(r.tasks))
	for _, b := range r.tasks {
		tasks = append(tasks, b)
	}
	r.mu.Unlock()
	for _, c := range list.Items {
		taskID, name := c.Labels[engineapi.LabelTask], c.Labels[engineapi.LabelContainer]
		if taskID == "" {
			continue
		}
		b := r.find(taskID)
		if b == nil || b.work[name] == nil {
			r.mu.Lock()
			r.strangers[taskID] = true
			r.mu.Unlock()
			continue
		}
		if b.engineID(name) == "" { // made just before a crash
			if err := b.note(name, func(rec *containerRecord) { rec.Engine = c.ID }); err != nil {
				return err
			}
		}
		r.mu.Lock()
		r.byEngine[c.ID] = containerKey{taskID, name}
		r.mu.Unlock()
	}
	var looks errgroup.Group
	looks.SetLimit(2 * runtime.GOMAXPROCS(0))
	for _, b := range tasks {
		for name := range b.work {
			b.mu.Lock()
			known := b.find(name) != nil
			b.mu.Unlock()
			if !known {
				continue
			}
			looks.Go(func() error {
				if err := r.refresh(within, b, name); err != nil {
					return err
				}
				if name != translate.PauseName {
					r.followLog(b, name)
				}
				return nil
			})
		}
	}
	if err := looks.Wait(); err != nil {
		return fmt.Errorf("docker: look at the containers: %w", err)
	}
	return nil
}

// followLog follows a container's log, from where it was left.
func (r *Runtime) followLog(b *sandbox, name string) {
	id := b.engineID(name)
	if id == "" {
		return
	}
	tty := false
	for _, c := range b.record.Spec.Containers {
		tty = tty || c.Name == name && c.Options.TTY
	}
	taskID := b.record.Spec.ID
	r.followers.Start(taskID, name, id, containerlog.Folder(containerlog.Root(r.config.Dir), taskID, name), tty)
	if b.statusOf(name).Ended() {
		r.followers.End(taskID, name)
	}
}
