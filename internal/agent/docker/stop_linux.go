package docker

import (
	"context"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
	"github.com/bakingclouds/rollcall/internal/agent/docker/translate"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"
)

// StopContainer ends a container; see [agent.Runtime].
func (r *Runtime) StopContainer(ctx context.Context, taskID, name string, timeout time.Duration) error {
	b, err := r.findContainer(taskID, name)
	if err != nil {
		return nil
	}
	b.mu.Lock()
	b.stopping[name] = true
	b.mu.Unlock()
	work := b.work[name]
	work.Lock() // a start under way ends first
	s := b.statusOf(name)
	if s.Ended() || s.StartedAt.IsZero() {
		changed, err := b.end(name, "")
		work.Unlock()
		if changed {
			r.tell(b, name)
		}
		return err
	}
	work.Unlock()
	stopped := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout+engineapi.CallTimeout)
		defer cancel()
		seconds := int((timeout + time.Second - 1) / time.Second)
		_, err := r.engine.ContainerStop(ctx, b.engineID(name), client.ContainerStopOptions{Timeout: &seconds})
		if err != nil && !errdefs.IsNotFound(err) {
			stopped <- engineapi.Error(err)
			return
		}
		stopped <- r.refresh(ctx, b, name)
	}()
	select {
	case err := <-stopped:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// logsWithin is how long the last lines of a removed task's containers may take to be read.
const logsWithin = 10 * time.Second

// Remove gives back what a task held; see [agent.Runtime].
func (r *Runtime) Remove(ctx context.Context, taskID string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*engineapi.CallTimeout)
	defer cancel()
	b := r.find(taskID)
	ids, err := r.containersOf(ctx, taskID)
	if err != nil {
		return err
	}
	if b != nil {
		b.mu.Lock()
		for name := range b.work {
			b.stopping[name] = true
		}
		b.mu.Unlock()
	}
	if err := r.removeContainers(ctx, taskID, ids); err != nil {
		return err
	}
	r.mu.Lock()
	delete(r.strangers, taskID)
	for id := range ids {
		delete(r.byEngine, id)
	}
	r.mu.Unlock()
	if b == nil {
		return nil
	}
	if err := r.removeVolumes(ctx, &b.record.Spec); err != nil {
		return err
	}
	if err := b.forget(); err != nil {
		return err
	}
	r.mu.Lock()
	delete(r.tasks, taskID)
	r.mu.Unlock()
	return r.leases.GiveBack(b.leases, b.record.Spec.Group, b.record.Spec.Rest)
}

// containersOf are what the engine has of a task: the containers' names by the engine's ids.
func (r *Runtime) containersOf(ctx context.Context, taskID string) (map[string]string, error) {
	list, err := r.engine.ContainerList(ctx, client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("label", engineapi.LabelOwner+"="+r.owner, engineapi.LabelTask+"="+taskID),
	})
	if err != nil {
		return nil, engineapi.Error(err)
	}
	ids := map[string]string{}
	for _, c := range list.Items {
		ids[c.ID] = c.Labels[engineapi.LabelContainer]
	}
	return ids, nil
}

// removeContainers kills and removes containers, the pause container last: it holds the others' network.
func (r *Runtime) removeContainers(ctx context.Context, taskID string, ids map[string]string) error {
	remove := func(id, name string) error {
		if name != translate.PauseName {
			// First it ends, then its last lines are read, then it goes.
			zero := 0
			if _, err := r.engine.ContainerStop(ctx, id, client.ContainerStopOptions{Timeout: &zero}); err != nil && !errdefs.IsNotFound(err) {
				r.log.Debug("a container that is removed does not stop by itself", "container", id, "err", err)
			}
			r.followers.Wait(taskID, name, logsWithin)
		}
		return r.removeContainer(ctx, id)
	}
	var all errgroup.Group
	var pause []string
	for id, name := range ids {
		if name == translate.PauseName {
			pause = append(pause, id)
			continue
		}
		all.Go(func() error { return remove(id, name) })
	}
	if err := all.Wait(); err != nil {
		return err
	}
	for _, id := range pause {
		if err := remove(id, translate.PauseName); err != nil {
			return err
		}
	}
	return nil
}

// removeContainer removes one container, whatever it does; somebody else may be at it.
func (r *Runtime) removeContainer(ctx context.Context, id string) error {
	_, err := r.engine.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if errdefs.IsConflict(err) { // "removal of container … is already in progress"
		gone := r.engine.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionRemoved})
		select {
		case <-gone.Result:
			err = nil
		case err = <-gone.Error:
		}
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return engineapi.Error(err)
	}
	return nil
}
