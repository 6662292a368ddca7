package docker

import (
	"context"
	"maps"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
	"github.com/bakingclouds/rollcall/internal/agent/docker/translate"
	"github.com/bakingclouds/rollcall/internal/engineopts"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// createVolumes creates the volumes of a task. A shared volume that exists is used as it is.
func (r *Runtime) createVolumes(ctx context.Context, spec *agent.TaskSpec) error {
	for i := range spec.Options.Volumes {
		v := &spec.Options.Volumes[i]
		if v.HostPath != "" {
			continue
		}
		if v.Shared {
			exists, err := r.volumeExists(ctx, v)
			if err != nil {
				return err
			}
			if exists {
				continue
			}
		}
		labels := maps.Clone(v.Labels)
		if labels == nil {
			labels = map[string]string{}
		}
		if !v.Shared { // a shared volume belongs to the user and outlives the task
			maps.Copy(labels, r.labels(spec.ID, "", ""))
		}
		_, err := r.engine.VolumeCreate(ctx, client.VolumeCreateOptions{
			Name: translate.VolumeSource(spec, v), Driver: v.Driver, DriverOpts: v.DriverOpts, Labels: labels,
		})
		if err != nil {
			return engineapi.StartError("ResourceInitializationError: failed to create volume "+v.Name, err)
		}
	}
	return nil
}

// volumeExists reports whether a shared volume exists. If it does not and may not be created, the error is
// fault.Invalid.
func (r *Runtime) volumeExists(ctx context.Context, v *engineopts.Volume) (bool, error) {
	_, err := r.engine.VolumeInspect(ctx, v.Name, client.VolumeInspectOptions{})
	switch {
	case err == nil:
		return true, nil
	case !errdefs.IsNotFound(err):
		return false, engineapi.Error(err)
	case !v.Create:
		return false, fault.New(fault.Invalid, "volume",
			"ResourceInitializationError: Docker volume %s does not exist on this node; "+
				"create it, or set autoprovision", v.Name)
	}
	return false, nil
}

// removeVolumes removes the volumes that only the task has used.
func (r *Runtime) removeVolumes(ctx context.Context, spec *agent.TaskSpec) error {
	for i := range spec.Options.Volumes {
		v := &spec.Options.Volumes[i]
		if v.HostPath != "" || v.Shared {
			continue
		}
		_, err := r.engine.VolumeRemove(ctx, translate.VolumeSource(spec, v), client.VolumeRemoveOptions{Force: true})
		if err != nil && !errdefs.IsNotFound(err) {
			return engineapi.Error(err)
		}
	}
	return nil
}
