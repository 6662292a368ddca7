package docker

import (
	"context"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
	"github.com/bakingclouds/rollcall/internal/agent/docker/pidwatch"
	"github.com/bakingclouds/rollcall/internal/agent/docker/translate"
	"github.com/bakingclouds/rollcall/internal/containerlog"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// Reasons of ends that the engine does not report as such.
const (
	reasonRemoved = "The container was removed outside of Rollcall (docker rm)"
	reasonUnseen  = "The container's process has ended; the Docker Engine does not answer, so its exit code is unknown"
)

// refreshOrLog is refresh for callers that cannot handle an error: the next listing repeats what has failed.
func (r *Runtime) refreshOrLog(sb *sandbox, name string) {
	ctx, cancel := context.WithTimeout(r.ctx, engineapi.CallTimeout)
	defer cancel()
	if err := r.refresh(ctx, sb, name); err != nil && r.ctx.Err() == nil && !fault.Is(err, fault.Unavailable) {
		r.log.Error("cannot read the state of a container", "task", sb.stored.Spec.ID, "container", name, "err", err)
	}
}

// refresh reads the state of a container from the engine, reports a change to the agent, and restarts the container if
// its restart policy asks for it.
func (r *Runtime) refresh(ctx context.Context, sb *sandbox, name string) error {
	id := sb.engineID(name)
	if id == "" {
		return nil
	}
	seen, err := r.engine.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if errdefs.IsNotFound(err) {
		r.end(sb, name, reasonRemoved)
		return nil
	}
	if err != nil {
		return engineapi.Error(err)
	}
	sb.mu.Lock()
	rec := *sb.containerLocked(name)
	networkName := r.networkName(sb.stored.Network)
	sb.mu.Unlock()
	s := rec.status(name, translate.Status(&seen.Container, networkName, rec.Address))
	if s.Running() {
		r.watchProcess(sb, name, seen.Container.State.Pid)
	}
	isPause := name == translate.PauseName
	if !isPause && rec.End == nil && !sb.isStopping(name) && s.Ended() && s.ExitCode != nil && r.restart(sb, name, s) {
		return nil
	}
	if !sb.setStatus(s) {
		return nil
	}
	switch {
	case !isPause:
		r.report(sb, name)
	case s.Ended():
		r.endAll(sb, s.Reason)
	}
	return nil
}

// report sends a container's status to the agent.
func (r *Runtime) report(sb *sandbox, name string) {
	id, s := sb.stored.Spec.ID, sb.statusOf(name)
	r.outbox.Put(containerKey{id, name}, agent.Event{TaskID: id, Status: s})
	if s.Ended() {
		r.logs.End(id, name)
	}
}

// end decides that a container has ended, although the engine does not report it, and reports that to the agent.
func (r *Runtime) end(sb *sandbox, name, reason string) {
	changed, err := sb.end(name, reason)
	if err != nil {
		r.log.Error("cannot store the end of a container", "task", sb.stored.Spec.ID, "container", name, "err", err)
	}
	switch {
	case !changed:
	case name == translate.PauseName:
		r.endAll(sb, reason)
	default:
		r.report(sb, name)
	}
}

// endAll ends the containers of a task whose pause container has ended, and their network with it.
func (r *Runtime) endAll(sb *sandbox, why string) {
	if sb.isStopping(translate.PauseName) {
		return
	}
	reason := "The task's network is gone: its pause container has ended"
	if why != "" {
		reason = "The task's network is gone, with its pause container: " + why
	}
	for _, c := range sb.stored.Spec.Containers {
		r.end(sb, c.Name, reason)
	}
}

// watchProcess watches a container's main process, so that the runtime notices its end also while the engine does not
// answer. It does nothing if the engine runs in another pid namespace; then only the engine's events report ends.
func (r *Runtime) watchProcess(sb *sandbox, name string, pid int) {
	if !pidwatch.InContainer(pid, sb.engineID(name)) {
		return
	}
	r.pids.Watch(pid, func() {
		if !r.awaitEndInEngine(sb, name, pid) && r.ctx.Err() == nil {
			r.end(sb, name, reasonUnseen)
		}
	})
}

// How long the runtime waits for the engine to report an end that the kernel has reported.
const (
	endTimeout     = 3 * time.Second // since the engine last answered
	slowEndTimeout = time.Minute     // in all, if the engine answers pings but not the inspection
	minEndWait     = 5 * time.Millisecond
)

// awaitEndInEngine inspects a container whose main process has ended until the engine reports the end, or has started
// the container again. It returns false if the engine does not answer.
func (r *Runtime) awaitEndInEngine(sb *sandbox, name string, pid int) bool {
	began, answered := time.Now(), time.Now()
	for wait := minEndWait; time.Since(answered) < endTimeout; wait = min(2*wait, endTimeout/4) {
		ctx, cancel := context.WithTimeout(r.ctx, endTimeout)
		seen, err := r.engine.ContainerInspect(ctx, sb.engineID(name), client.ContainerInspectOptions{})
		cancel()
		switch {
		case r.ctx.Err() != nil:
			return false
		case err == nil && seen.Container.State.Running && seen.Container.State.Pid == pid:
			answered = time.Now() // the engine has not noticed yet
		case err == nil || errdefs.IsNotFound(err):
			r.refreshOrLog(sb, name)
			return true
		case time.Since(began) < slowEndTimeout && r.ping(r.ctx, endTimeout) == nil:
			answered = time.Now() // the engine is busy with this end
		}
		select {
		case <-r.ctx.Done():
			return false
		case <-time.After(wait):
		}
	}
	return false
}

// restart restarts a container that has ended by itself, in the background, and reports whether its policy asks for it.
func (r *Runtime) restart(sb *sandbox, name string, s agent.ContainerStatus) bool {
	for i := range sb.stored.Spec.Containers {
		c := &sb.stored.Spec.Containers[i]
		if c.Name != name || !translate.ShouldRestart(c.Options.Restart, *s.ExitCode, s.StartedAt, s.FinishedAt) {
			continue
		}
		go func() {
			lock := sb.locks[name]
			lock.Lock()
			defer lock.Unlock()
			r.startAgain(sb, name, s.StartedAt)
		}()
		return true
	}
	return false
}

// startAgain starts a container that has ended by itself. It does nothing if the agent stops the container, or if the
// container has been started since started: one end may be noticed several times. The caller holds the container's
// lock.
func (r *Runtime) startAgain(sb *sandbox, name string, started time.Time) {
	ctx, cancel := context.WithTimeout(r.ctx, startTimeout)
	defer cancel()
	id := sb.engineID(name)
	stopping := sb.isStopping(name)
	seen, err := r.engine.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if stopping || err != nil || !translate.Time(seen.Container.State.StartedAt).Equal(started) {
		r.refreshOrLog(sb, name)
		return
	}
	_, err = r.engine.ContainerStart(ctx, id, client.ContainerStartOptions{})
	switch {
	case err == nil:
		r.copyLog(sb, name)
		r.refreshOrLog(sb, name)
	case engineapi.Unreachable(err): // the next listing decides again
	default:
		r.end(sb, name,
			"CannotStartContainerError: the container has ended and cannot be restarted: "+engineapi.Message(err))
	}
}

// copyLog begins to copy a container's log, after what was copied before.
func (r *Runtime) copyLog(sb *sandbox, name string) {
	id := sb.engineID(name)
	if id == "" {
		return
	}
	tty := false
	for _, c := range sb.stored.Spec.Containers {
		tty = tty || c.Name == name && c.Options.TTY
	}
	taskID := sb.stored.Spec.ID
	r.logs.Start(taskID, name, id, containerlog.Folder(containerlog.Root(r.config.Dir), taskID, name), tty)
	if sb.statusOf(name).Ended() {
		r.logs.End(taskID, name)
	}
}
