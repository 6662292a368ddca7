package docker

import (
	"context"

	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
	"github.com/bakingclouds/rollcall/internal/agent/docker/translate"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// makeVolumes makes the volumes of a task. A shared one that is there is used as it is.
func (r *Runtime) makeVolumes(ctx context.Context, spec *agent.TaskSpec) error {
	for i := range spec.Options.Volumes {
		v := &spec.Options.Volumes[i]
		if v.HostPath != "" {
			continue
		}
		name := translate.VolumeSource(spec, v)
		if v.Shared {
			_, err := r.engine.VolumeInspect(ctx, name, client.VolumeInspectOptions{})
			if err == nil {
				continue
			}
			if !errdefs.IsNotFound(err) {
				return engineapi.Error(err)
			}
			if !v.Create {
				return fault.New(fault.Invalid, "volume", "ResourceInitializationError: there is no Docker volume %s on this node; make it, or set autoprovision", name)
			}
		}
		labels := map[string]string{}
		for k, value := range v.Labels {
			labels[k] = value
		}
		if !v.Shared { // a shared one outlives us: it is the user's
			for k, value := range r.labels(spec.ID, "", "") {
				labels[k] = value
			}
		}
		if _, err := r.engine.VolumeCreate(ctx, client.VolumeCreateOptions{Name: name, Driver: v.Driver, DriverOpts: v.DriverOpts, Labels: labels}); err != nil {
			return engineapi.StartError("ResourceInitializationError: failed to create volume "+v.Name, err)
		}
	}
	return nil
}

// removeVolumes removes those that were the task's alone.
func (r *Runtime) removeVolumes(ctx context.Context, spec *agent.TaskSpec) error {
	for i := range spec.Options.Volumes {
		v := &spec.Options.Volumes[i]
		if v.HostPath != "" || v.Shared {
			continue
		}
		if _, err := r.engine.VolumeRemove(ctx, translate.VolumeSource(spec, v), client.VolumeRemoveOptions{Force: true}); err != nil && !errdefs.IsNotFound(err) {
			return engineapi.Error(err)
		}
	}
	return nil
}
