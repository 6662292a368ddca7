package docker

import (
	"context"
	"os"
	"slices"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// TestLeftovers: what a data folder has in the engine is left over when the folder is gone or has begun anew, and else only
// when it is named; what is not ours never is.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	engine := needEngine(t)
	image := ""
	if r, _, _ := fresh(t); r != nil {
		image = mustOwn(t, r)
		letGo(t, r)
	}
	dir := t.TempDir()
	owner, err := ownerOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	ours := map[string]string{labelOwner: owner, labelData: dir}
	make := func(labels map[string]string) string {
		return create(t, engine, client.ContainerCreateOptions{Config: &container.Config{Image: image, Labels: labels}})
	}
	mine, other := make(ours), make(map[string]string{"com.example.owner": owner, labelData: dir})
	volume, err := engine.VolumeCreate(t.Context(), client.VolumeCreateOptions{Labels: ours})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = engine.VolumeRemove(context.Background(), volume.Volume.Name, client.VolumeRemoveOptions{Force: true}) // the test may have
	})
	list := func(also string) (ids []string, all []Leftover) {
		t.Helper()
		found, err := Leftovers(t.Context(), "", also)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range found {
			if l.ID == other {
				t.Errorf("a container of somebody else is left over: %+v", l)
			}
			if l.Data == dir { // other tests have theirs
				ids, all = append(ids, l.ID), append(all, l)
			}
		}
		return ids, all
	}
	if ids, _ := list(""); len(ids) != 0 {
		t.Errorf("with its data folder there, %v is left over", ids)
	}
	want := []string{mine, volume.Volume.Name}
	if ids, _ := list(dir); !slices.Equal(ids, want) {
		t.Errorf("of the folder that is named, %v is left over, want %v", ids, want)
	}
	if err := os.Remove(ownerFile(dir)); err != nil {
		t.Fatal(err)
	}
	if ids, _ := list(""); !slices.Equal(ids, want) {
		t.Errorf("without its data folder, %v is left over, want %v", ids, want)
	}
	if _, err := ownerOf(dir); err != nil { // another server begins there
		t.Fatal(err)
	}
	ids, all := list("")
	if !slices.Equal(ids, want) || all[0].Why != "its data folder has begun anew" {
		t.Errorf("of a folder that has begun anew, %+v is left over", all)
	}
	if removed, err := RemoveLeftovers(t.Context(), "", all); err != nil || len(removed) != 2 {
		t.Errorf("removed %+v, %v", removed, err)
	}
	if ids, _ := list(""); len(ids) != 0 {
		t.Errorf("afterwards %v is left over", ids)
	}
}
