package docker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
	"github.com/bakingclouds/rollcall/internal/agent/docker/translate"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// startTimeout limits the start of a container, as ECS's agent does (ECS_CONTAINER_START_TIMEOUT).
const startTimeout = 3 * time.Minute

// Prepare pulls the images of a task; see [agent.Runtime].
func (r *Runtime) Prepare(ctx context.Context, spec agent.TaskSpec, fetching func()) error {
	var all errgroup.Group
	once := sync.OnceFunc(fetching)
	for _, c := range spec.Containers {
		all.Go(func() error { return r.images.Prepare(ctx, c.Image, c.Login, once) })
	}
	return all.Wait()
}

// Create reserves a task's addresses and ports, and creates its volumes and its pause container; see [agent.Runtime].
func (r *Runtime) Create(ctx context.Context, spec agent.TaskSpec) (agent.Sandbox, error) {
	if err := translate.Validate(&spec); err != nil {
		return agent.Sandbox{}, err
	}
	sb := r.find(spec.ID)
	if sb == nil {
		var err error
		if sb, err = r.newTask(spec); err != nil {
			return agent.Sandbox{}, err
		}
	}
	if err := r.createShared(ctx, sb); err != nil {
		if !fault.Is(err, fault.Unavailable) { // otherwise the agent retries, and the reservation stays
			err = errors.Join(err, r.Remove(context.WithoutCancel(ctx), spec.ID))
		}
		return agent.Sandbox{}, err
	}
	return sb.view(), nil
}

// newTask reserves what a task needs and stores its task file.
func (r *Runtime) newTask(spec agent.TaskSpec) (*sandbox, error) {
	sb, err := r.reserve(spec)
	if err != nil {
		return nil, err
	}
	if err := sb.createFiles(); err != nil {
		releaseAll(sb.leases)
		return nil, errors.Join(err, sb.removeFiles())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tasks[spec.ID] = sb
	return sb, nil
}

// createShared creates what the task's containers share: its volumes and its pause container. Some of it may exist
// already, from before a crash.
func (r *Runtime) createShared(ctx context.Context, sb *sandbox) (err error) {
	lock := sb.locks[translate.PauseName]
	lock.Lock()
	defer lock.Unlock()
	if sb.created {
		return nil
	}
	defer func() { sb.created = err == nil }()
	// As in StartContainer, a call to the engine is not interrupted.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), engineapi.CallTimeout)
	defer cancel()
	if err := r.createVolumes(ctx, &sb.stored.Spec); err != nil {
		return err
	}
	if sb.stored.Pause == nil || sb.statusOf(translate.PauseName).Running() {
		return nil
	}
	image, err := r.images.Program(ctx)
	if err != nil {
		return err
	}
	if err := sb.update(translate.PauseName, func(c *storedContainer) { c.Image = image }); err != nil {
		return err
	}
	options := translate.PauseOptions(&sb.stored.Spec, r.assignment(sb, translate.PauseName))
	return r.run(ctx, sb, translate.PauseName, options)
}

// StartContainer creates and starts a container, once; see [agent.Runtime].
func (r *Runtime) StartContainer(ctx context.Context, taskID, name string) error {
	sb, err := r.findContainer(taskID, name)
	if err != nil {
		return err
	}
	lock := sb.locks[name]
	lock.Lock()
	defer lock.Unlock()
	switch s := sb.statusOf(name); {
	case s.Running():
		return nil
	case s.Ended() && s.StartedAt.IsZero() && s.Reason != "": // an earlier start has failed
		return fault.New(fault.Invalid, "container", "%s", s.Reason)
	case s.Ended():
		return nil
	}
	// The call is not interrupted: the engine may leave behind what it was creating.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
	defer cancel()
	if err = r.createShared(ctx, sb); err == nil { // Create may have been interrupted
		err = r.startContainer(ctx, sb, name)
	}
	var reason *fault.Error
	if err == nil || fault.Is(err, fault.Unavailable) || !errors.As(err, &reason) {
		return err
	}
	if changed, saveErr := sb.end(name, reason.Msg); changed {
		r.report(sb, name)
		err = errors.Join(err, saveErr)
	}
	return err
}

func (r *Runtime) startContainer(ctx context.Context, sb *sandbox, name string) error {
	sb.mu.Lock()
	spec := &sb.stored.Spec
	i := slices.IndexFunc(spec.Containers, func(c agent.ContainerSpec) bool { return c.Name == name })
	imageID := sb.stored.Containers[i].Image
	sb.mu.Unlock()
	c := &spec.Containers[i]
	if imageID == "" {
		id, digest, err := r.images.Local(ctx, c.Image)
		if err != nil {
			return err
		}
		if err := sb.update(name, func(rec *storedContainer) { rec.Image, rec.Digest = id, digest }); err != nil {
			return err
		}
	}
	if err := r.run(ctx, sb, name, translate.ContainerOptions(spec, c, r.assignment(sb, name))); err != nil {
		return err
	}
	r.copyLog(sb, name)
	return nil
}

// run creates a container, unless it exists, and starts it.
func (r *Runtime) run(ctx context.Context, sb *sandbox, name string, options client.ContainerCreateOptions) error {
	id := sb.engineID(name)
	if id == "" {
		var err error
		if id, err = r.createContainer(ctx, sb, name, options); err != nil {
			return err
		}
	}
	_, err := r.engine.ContainerStart(ctx, id, client.ContainerStartOptions{})
	if errdefs.IsNotFound(err) { // perhaps the network was removed outside of Rollcall
		if err = r.ensureNetwork(ctx, sb.stored.Network); err == nil {
			_, err = r.engine.ContainerStart(ctx, id, client.ContainerStartOptions{})
		}
	}
	if err != nil {
		return engineapi.StartError("CannotStartContainerError", err)
	}
	return r.refresh(ctx, sb, name)
}

// createContainer creates a container, or finds the one that was created before a crash, and returns its engine id.
func (r *Runtime) createContainer(
	ctx context.Context, sb *sandbox, name string, options client.ContainerCreateOptions,
) (string, error) {
	const reason = "CannotCreateContainerError"
	created, err := r.engine.ContainerCreate(ctx, options)
	id := created.ID
	if errdefs.IsConflict(err) {
		existing, inspectErr := r.engine.ContainerInspect(ctx, options.Name, client.ContainerInspectOptions{})
		if inspectErr != nil {
			return "", engineapi.StartError(reason, errors.Join(err, inspectErr))
		}
		if !r.owns(existing.Container.Config.Labels, sb.stored.Spec.ID, name) {
			return "", fault.New(fault.Invalid, "container", "%s: a container of another program has the name %[2]s; "+
				"remove or rename it (docker rename %[2]s OTHER)", reason, options.Name)
		}
		id, err = existing.Container.ID, nil
	}
	if err != nil {
		return "", engineapi.StartError(reason, err)
	}
	r.setEngineID(id, containerKey{sb.stored.Spec.ID, name})
	return id, sb.update(name, func(c *storedContainer) { c.Engine = id })
}

// owns reports whether labels are those of a task's container.
func (r *Runtime) owns(labels map[string]string, taskID, name string) bool {
	return labels[engineapi.LabelOwner] == r.owner && labels[engineapi.LabelTask] == taskID &&
		labels[engineapi.LabelContainer] == name
}
