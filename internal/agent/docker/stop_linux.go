package docker

import (
	"context"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
	"github.com/bakingclouds/rollcall/internal/agent/docker/translate"
)

// StopContainer ends a container; see [agent.Runtime].
func (r *Runtime) StopContainer(ctx context.Context, taskID, name string, timeout time.Duration) error {
	sb, err := r.findContainer(taskID, name)
	if err != nil {
		return nil // a container that does not exist has ended
	}
	sb.setStopping(name)
	lock := sb.locks[name]
	lock.Lock() // waits for a start that is under way
	s := sb.statusOf(name)
	if s.Ended() || s.StartedAt.IsZero() {
		changed, err := sb.end(name, "")
		lock.Unlock()
		if changed {
			r.report(sb, name)
		}
		return err
	}
	lock.Unlock()
	stopped := make(chan error, 1)
	go func() { // continues if ctx is done
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout+engineapi.CallTimeout)
		defer cancel()
		seconds := int((timeout + time.Second - 1) / time.Second)
		_, err := r.engine.ContainerStop(ctx, sb.engineID(name), client.ContainerStopOptions{Timeout: &seconds})
		if err != nil && !errdefs.IsNotFound(err) {
			stopped <- engineapi.Error(err)
			return
		}
		stopped <- r.refresh(ctx, sb, name)
	}()
	select {
	case err := <-stopped:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Remove removes a task and releases what it has reserved; see [agent.Runtime].
func (r *Runtime) Remove(ctx context.Context, taskID string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*engineapi.CallTimeout)
	defer cancel()
	sb := r.find(taskID)
	ids, err := r.containersOf(ctx, taskID)
	if err != nil {
		return err
	}
	if sb != nil {
		for name := range sb.locks {
			sb.setStopping(name)
		}
	}
	if err := r.removeContainers(ctx, taskID, ids); err != nil {
		return err
	}
	r.mu.Lock()
	delete(r.orphans, taskID)
	for id := range ids {
		delete(r.byEngineID, id)
	}
	r.mu.Unlock()
	if sb == nil {
		return nil
	}
	if err := r.removeVolumes(ctx, &sb.stored.Spec); err != nil {
		return err
	}
	if err := sb.removeFiles(); err != nil {
		return err
	}
	r.mu.Lock()
	delete(r.tasks, taskID)
	r.mu.Unlock()
	return r.leases.Return(sb.leases, sb.stored.Spec.Group, sb.stored.Spec.Rest)
}

// containersOf returns the containers that the engine has of a task: their names, by engine id.
func (r *Runtime) containersOf(ctx context.Context, taskID string) (map[string]string, error) {
	list, err := r.engine.ContainerList(ctx, client.ContainerListOptions{
		All:     true,
		Filters: make(client.Filters).Add("label", engineapi.LabelOwner+"="+r.owner, engineapi.LabelTask+"="+taskID),
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

// lastLogTimeout limits the time in which the end of a removed container's log is copied.
const lastLogTimeout = 10 * time.Second

// removeContainers kills and removes a task's containers, the pause container last, since it holds the others' network.
func (r *Runtime) removeContainers(ctx context.Context, taskID string, ids map[string]string) error {
	var all errgroup.Group
	pauseID := ""
	for id, name := range ids {
		if name == translate.PauseName {
			pauseID = id
			continue
		}
		all.Go(func() error {
			// The log can be copied only while the container exists.
			immediately := 0
			_, err := r.engine.ContainerStop(ctx, id, client.ContainerStopOptions{Timeout: &immediately})
			if err != nil && !errdefs.IsNotFound(err) {
				r.log.Debug("cannot stop a container before its removal", "container", id, "err", err)
			}
			r.logs.Wait(taskID, name, lastLogTimeout)
			return r.removeContainer(ctx, id)
		})
	}
	if err := all.Wait(); err != nil || pauseID == "" {
		return err
	}
	return r.removeContainer(ctx, pauseID)
}

// removeContainer removes a container in any state. If a removal is already under way, it waits for its end.
func (r *Runtime) removeContainer(ctx context.Context, id string) error {
	_, err := r.engine.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if errdefs.IsConflict(err) { // "removal of container … is already in progress"
		removed := r.engine.ContainerWait(ctx, id, client.ContainerWaitOptions{
			Condition: container.WaitConditionRemoved})
		select {
		case <-removed.Result:
			err = nil
		case err = <-removed.Error:
		}
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return engineapi.Error(err)
	}
	return nil
}
