package leftovers

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent/docker/dockertest"
	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
	"github.com/bakingclouds/rollcall/internal/agent/docker/image"
)

// TestFind covers the objects of one data folder: they are leftovers when the folder is gone, when it was created again
// and has another owner id, and when the caller names the folder. A container without Rollcall's labels never is.
func TestFind(t *testing.T) {
	t.Parallel()
	engine := dockertest.Engine(t)
	program := dockertest.Build(t, "package main\n\nfunc main() {}")
	imageID, err := image.NewStore(engine, program, slog.New(slog.DiscardHandler)).Program(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dockertest.RemoveImage(t, engine, imageID) })
	dir := t.TempDir()
	owner, err := engineapi.Owner(dir)
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{engineapi.LabelOwner: owner, engineapi.LabelData: dir}
	createContainer := func(labels map[string]string) string {
		return dockertest.Create(t, engine, client.ContainerCreateOptions{
			Config: &container.Config{Image: imageID, Labels: labels},
		})
	}
	rollcalls := createContainer(labels)
	foreign := createContainer(map[string]string{"com.example.owner": owner, engineapi.LabelData: dir})
	volume, err := engine.VolumeCreate(t.Context(), client.VolumeCreateOptions{Labels: labels})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // the test may have removed it
		_, _ = engine.VolumeRemove(context.Background(), volume.Volume.Name, client.VolumeRemoveOptions{Force: true})
	})
	find := func(also string) (ids []string, all []Leftover) {
		t.Helper()
		found, err := Find(t.Context(), "", also)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range found {
			if l.ID == foreign {
				t.Errorf("a container without Rollcall's owner label is a leftover: %+v", l)
			}
			if l.Data == dir { // other tests have other folders
				ids, all = append(ids, l.ID), append(all, l)
			}
		}
		return ids, all
	}
	if ids, _ := find(""); len(ids) != 0 {
		t.Errorf("data folder exists: leftovers %v, want none", ids)
	}
	want := []string{rollcalls, volume.Volume.Name}
	if ids, _ := find(dir); !slices.Equal(ids, want) {
		t.Errorf("data folder is named: leftovers %v, want %v", ids, want)
	}
	if err := os.Remove(engineapi.OwnerFile(dir)); err != nil {
		t.Fatal(err)
	}
	if ids, _ := find(""); !slices.Equal(ids, want) {
		t.Errorf("data folder is gone: leftovers %v, want %v", ids, want)
	}
	if _, err := engineapi.Owner(dir); err != nil { // as a new server does
		t.Fatal(err)
	}
	ids, all := find("")
	if !slices.Equal(ids, want) || all[0].Why != reasonNewOwner {
		t.Errorf("data folder has a new owner id: leftovers %+v, want %v because %q", all, want, reasonNewOwner)
	}
	if removed, err := Remove(t.Context(), "", all); err != nil || len(removed) != 2 {
		t.Errorf("Remove returned %+v, %v; want both objects", removed, err)
	}
	if ids, _ := find(""); len(ids) != 0 {
		t.Errorf("after Remove: leftovers %v, want none", ids)
	}
}
