package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// Leftover is a thing in the engine that is Rollcall's and that no server will miss.
type Leftover struct {
	Kind string // container, network, volume, image
	ID   string // what the engine knows it by
	Name string
	Data string // the data folder that it was of; empty for images
	Why  string
}

// The kinds, in the order in which they can be removed: a network and a volume are free when their containers are gone.
var leftoverKinds = []string{"container", "network", "volume", "image"}

// Leftovers finds what is left over in an engine: the containers, networks and volumes whose data folder is gone or has
// begun anew, and the images of other builds of this program that no container uses for [imageRest]. With also, what belongs to that data
// folder is among it; that no server runs on it is the caller's to know.
func Leftovers(ctx context.Context, host, also string) ([]Leftover, error) {
	engine, err := dial(ctx, host)
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	var found []Leftover
	add := func(kind, id, name string, labels map[string]string) {
		if why := abandoned(labels, also); why != "" {
			found = append(found, Leftover{kind, id, name, labels[labelData], why})
		}
	}
	ours := make(client.Filters).Add("label", labelOwner)
	containers, err := engine.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: ours})
	if err != nil {
		return nil, engineError(err)
	}
	used := map[string]bool{}
	for _, c := range containers.Items {
		used[c.ImageID] = true
		name := c.ID
		if len(c.Names) > 0 {
			name = c.Names[0][1:] // "/name"
		}
		add("container", c.ID, name, c.Labels)
	}
	networks, err := engine.NetworkList(ctx, client.NetworkListOptions{Filters: ours})
	if err != nil {
		return nil, engineError(err)
	}
	for _, n := range networks.Items {
		add("network", n.ID, n.Name, n.Labels)
	}
	volumes, err := engine.VolumeList(ctx, client.VolumeListOptions{Filters: ours})
	if err != nil {
		return nil, engineError(err)
	}
	for _, v := range volumes.Items {
		add("volume", v.Name, v.Name, v.Labels)
	}
	images, err := engine.ImageList(ctx, client.ImageListOptions{Filters: make(client.Filters).Add("label", labelBinary)})
	if err != nil {
		return nil, engineError(err)
	}
	build := thisBuild()
	for _, i := range images.Items {
		if used[i.ID] || i.Labels[labelBinary] == build {
			continue
		}
		seen, err := engine.ImageInspect(ctx, i.ID)
		if err != nil || time.Since(seen.Metadata.LastTagTime) < imageRest {
			continue // gone, or of a server that is about to use it
		}
		name := i.ID
		if len(i.RepoTags) > 0 {
			name = i.RepoTags[0]
		}
		found = append(found, Leftover{"image", i.ID, name, "", "it is of another build of this program, and no container uses it"})
	}
	slices.SortStableFunc(found, func(a, b Leftover) int {
		return cmp.Or(cmp.Compare(slices.Index(leftoverKinds, a.Kind), slices.Index(leftoverKinds, b.Kind)), cmp.Compare(a.Data, b.Data), cmp.Compare(a.Name, b.Name))
	})
	return found, nil
}

// imageRest is how long an image of another build is left alone: who has just made it may be about to use it.
const imageRest = 10 * time.Minute

// abandoned says why nobody will miss what has these labels; empty when somebody may.
func abandoned(labels map[string]string, also string) string {
	owner, data := labels[labelOwner], labels[labelData]
	if owner == "" || data == "" {
		return ""
	}
	id, err := readOwner(data)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "its data folder is gone"
	case err != nil:
		return "" // it may still be there, for others to read
	case id != owner:
		return "its data folder has begun anew"
	case data == also:
		return "it is of the data folder that was named"
	}
	return ""
}

// RemoveLeftovers removes what [Leftovers] has found, in that order, and gives what was removed; what somebody else has
// removed meanwhile counts. The error says what could not be.
func RemoveLeftovers(ctx context.Context, host string, all []Leftover) (removed []Leftover, err error) {
	engine, err := dial(ctx, host)
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	var problems []error
	for _, l := range all {
		var err error
		switch l.Kind {
		case "container":
			_, err = engine.ContainerRemove(ctx, l.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		case "network":
			cutOff(ctx, engine, l.ID)
			_, err = engine.NetworkRemove(ctx, l.ID, client.NetworkRemoveOptions{})
		case "volume":
			_, err = engine.VolumeRemove(ctx, l.ID, client.VolumeRemoveOptions{Force: true})
		case "image":
			_, err = engine.ImageRemove(ctx, l.ID, client.ImageRemoveOptions{Force: true, PruneChildren: true})
		}
		if err != nil && !errdefs.IsNotFound(err) {
			problems = append(problems, fmt.Errorf("remove the %s %s: %w", l.Kind, l.Name, err))
			continue
		}
		removed = append(removed, l)
	}
	return removed, errors.Join(problems...)
}

// cutOff takes off a network what the engine has left on it of containers that are gone.
func cutOff(ctx context.Context, engine *client.Client, id string) {
	n, err := engine.NetworkInspect(ctx, id, client.NetworkInspectOptions{})
	if err != nil {
		return // removing it says why
	}
	for c := range n.Network.Containers {
		if _, err := engine.ContainerInspect(ctx, c, client.ContainerInspectOptions{}); !errdefs.IsNotFound(err) {
			continue
		}
		_, _ = engine.NetworkDisconnect(ctx, id, client.NetworkDisconnectOptions{Container: c, Force: true}) // likewise
	}
}

// thisBuild is the SHA-256 of this program, as its image has it; empty where it has none.
func thisBuild() string {
	name, err := os.Executable()
	if err != nil {
		return ""
	}
	o, err := openOwn(name)
	if err != nil {
		return ""
	}
	defer o.file.Close()
	return o.sum
}
