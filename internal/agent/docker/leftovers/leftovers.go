// Package leftovers finds and removes what Rollcall has created in a Docker Engine and no server needs any more: the
// containers, networks and volumes of data folders that are gone, and images of other builds of this program.
//
// It recognizes objects by their labels (package engineapi) and touches nothing without them. It does not know whether
// a server is running: objects of an existing data folder are leftovers only if the caller names the folder.
package leftovers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
	"github.com/bakingclouds/rollcall/internal/agent/docker/image"
)

// Leftover is an object in the engine that no server needs.
type Leftover struct {
	Kind string // container, network, volume, image
	ID   string // of the object in the engine
	Name string
	Data string // data folder that the object belongs to; empty for images
	Why  string // why it is a leftover, for users
}

// kinds lists the kinds in the order in which objects can be removed: networks and volumes after their containers.
var kinds = []string{"container", "network", "volume", "image"}

// The reasons that [Leftover.Why] contains.
const (
	reasonGone     = "its data folder no longer exists"
	reasonNewOwner = "its data folder was created again"
	reasonNamed    = "it belongs to the data folder that was named"
	reasonImage    = "it is the image of another build of this program, and no container uses it"
)

// minImageAge is the age at which the image of another build becomes a leftover. A server may be about to use a younger
// one.
const minImageAge = 10 * time.Minute

// Find returns the leftovers of the engine at host, in the order in which they can be removed. Objects of the data
// folder also, which may be empty, are among them; the caller makes sure that no server runs on that folder.
func Find(ctx context.Context, host, also string) ([]Leftover, error) {
	engine, err := engineapi.Dial(ctx, host)
	if err != nil {
		return nil, err
	}
	defer func() { _ = engine.Close() }()
	found, usedImages, err := findObjects(ctx, engine, also)
	if err != nil {
		return nil, engineapi.Error(err)
	}
	images, err := findImages(ctx, engine, usedImages)
	if err != nil {
		return nil, engineapi.Error(err)
	}
	found = append(found, images...)
	slices.SortStableFunc(found, func(a, b Leftover) int {
		return cmp.Or(
			cmp.Compare(slices.Index(kinds, a.Kind), slices.Index(kinds, b.Kind)),
			cmp.Compare(a.Data, b.Data),
			cmp.Compare(a.Name, b.Name),
		)
	})
	return found, nil
}

// findObjects returns the leftovers that belong to data folders, and the ids of the images that Rollcall's containers
// use.
func findObjects(
	ctx context.Context, engine *client.Client, also string,
) (found []Leftover, used map[string]bool, err error) {
	add := func(kind, id, name string, labels map[string]string) {
		if why := reason(labels, also); why != "" {
			found = append(found, Leftover{kind, id, name, labels[engineapi.LabelData], why})
		}
	}
	withOwner := make(client.Filters).Add("label", engineapi.LabelOwner)
	containers, err := engine.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: withOwner})
	if err != nil {
		return nil, nil, err
	}
	used = map[string]bool{}
	for _, c := range containers.Items {
		used[c.ImageID] = true
		name := c.ID
		if len(c.Names) > 0 {
			name = c.Names[0][1:] // without the leading slash
		}
		add("container", c.ID, name, c.Labels)
	}
	networks, err := engine.NetworkList(ctx, client.NetworkListOptions{Filters: withOwner})
	if err != nil {
		return nil, nil, err
	}
	for _, n := range networks.Items {
		add("network", n.ID, n.Name, n.Labels)
	}
	volumes, err := engine.VolumeList(ctx, client.VolumeListOptions{Filters: withOwner})
	if err != nil {
		return nil, nil, err
	}
	for _, v := range volumes.Items {
		add("volume", v.Name, v.Name, v.Labels)
	}
	return found, used, nil
}

// findImages returns the images of other builds that are old enough and not used.
func findImages(ctx context.Context, engine *client.Client, used map[string]bool) (found []Leftover, err error) {
	images, err := engine.ImageList(ctx, client.ImageListOptions{
		Filters: make(client.Filters).Add("label", engineapi.LabelBinary),
	})
	if err != nil {
		return nil, err
	}
	build := image.CurrentBuild()
	for _, i := range images.Items {
		if used[i.ID] || i.Labels[engineapi.LabelBinary] == build {
			continue
		}
		seen, err := engine.ImageInspect(ctx, i.ID)
		if err != nil || time.Since(seen.Metadata.LastTagTime) < minImageAge {
			continue // removed since it was listed, or too young
		}
		name := i.ID
		if len(i.RepoTags) > 0 {
			name = i.RepoTags[0]
		}
		found = append(found, Leftover{"image", i.ID, name, "", reasonImage})
	}
	return found, nil
}

// reason returns why an object with these labels is a leftover, or an empty string if a server may need it.
func reason(labels map[string]string, also string) string {
	owner, data := labels[engineapi.LabelOwner], labels[engineapi.LabelData]
	if owner == "" || data == "" {
		return ""
	}
	id, err := engineapi.ReadOwner(data)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return reasonGone
	case err != nil:
		return "" // the folder may exist, but this user cannot read it
	case id != owner:
		return reasonNewOwner
	case data == also:
		return reasonNamed
	}
	return ""
}

// Remove removes leftovers in the order given and returns those that no longer exist, including those that another
// program has removed. The error joins the reasons for those that it could not remove.
func Remove(ctx context.Context, host string, all []Leftover) (removed []Leftover, err error) {
	engine, err := engineapi.Dial(ctx, host)
	if err != nil {
		return nil, err
	}
	defer func() { _ = engine.Close() }()
	var problems []error
	for _, l := range all {
		if err := remove(ctx, engine, l); err != nil && !errdefs.IsNotFound(err) {
			problems = append(problems, fmt.Errorf("remove %s %s: %w", l.Kind, l.Name, err))
			continue
		}
		removed = append(removed, l)
	}
	return removed, errors.Join(problems...)
}

func remove(ctx context.Context, engine *client.Client, l Leftover) (err error) {
	switch l.Kind {
	case "container":
		_, err = engine.ContainerRemove(ctx, l.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	case "network":
		disconnectRemoved(ctx, engine, l.ID)
		_, err = engine.NetworkRemove(ctx, l.ID, client.NetworkRemoveOptions{})
	case "volume":
		_, err = engine.VolumeRemove(ctx, l.ID, client.VolumeRemoveOptions{Force: true})
	case "image":
		_, err = engine.ImageRemove(ctx, l.ID, client.ImageRemoveOptions{Force: true, PruneChildren: true})
	}
	return err
}

// disconnectRemoved disconnects containers that no longer exist from a network: the engine sometimes keeps their
// endpoints. It ignores errors, since removing the network then fails with the reason.
func disconnectRemoved(ctx context.Context, engine *client.Client, networkID string) {
	n, err := engine.NetworkInspect(ctx, networkID, client.NetworkInspectOptions{})
	if err != nil {
		return
	}
	for c := range n.Network.Containers {
		if _, err := engine.ContainerInspect(ctx, c, client.ContainerInspectOptions{}); !errdefs.IsNotFound(err) {
			continue
		}
		_, _ = engine.NetworkDisconnect(ctx, networkID, client.NetworkDisconnectOptions{Container: c, Force: true})
	}
}
