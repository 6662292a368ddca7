package image

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/moby/moby/api/types/jsonstream"

	"github.com/bakingclouds/rollcall/internal/agent/docker/dockertest"
)

// TestSharedPull checks that equal pulls are one pull, which reports its progress and is canceled when no caller waits
// for it any more.
func TestSharedPull(t *testing.T) {
	s := newTestStore(t, dockertest.Engine(t))
	g := dockertest.ServeRegistry(t, dockertest.Platform, 3<<20)
	halfSent, release := make(chan struct{}, 100), make(chan struct{})
	releaseAll := sync.OnceFunc(func() { close(release) })
	t.Cleanup(releaseAll) // before the server is closed
	g.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		blob := g.Blobs[dockertest.BlobOf(r)]
		if len(blob) < 1<<20 {
			return false
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(blob)))
		_, _ = w.Write(blob[:len(blob)/2])
		w.(http.Flusher).Flush()
		halfSent <- struct{}{}
		<-release
		_, _ = w.Write(blob[len(blob)/2:])
		return true
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	firstCtx, cancelFirst := context.WithCancel(ctx)
	first, others := make(chan error, 1), make(chan error, 2)
	go func() { _, err := s.prepare(firstCtx, g.Image(), nil); first <- err }()
	<-halfSent
	for range 2 {
		go func() { _, err := s.prepare(ctx, g.Image(), nil); others <- err }()
	}
	dockertest.Eventually(t, "three callers wait for one pull", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.pulling) == 1 && s.pulling[g.Image()].waiters == 3
	})
	dockertest.Eventually(t, "Progress reports the layer", func() bool {
		all := s.Progress()
		return len(all) == 1 && strings.HasSuffix(all[0], " of 3.1 MB") &&
			strings.Contains(all[0], "pulling image "+g.Image()+": 0 of 1 layers, ")
	})
	cancelFirst()
	if err := <-first; err == nil {
		t.Error("the canceled caller gets no error")
	}
	if all := s.Progress(); len(all) != 1 {
		t.Errorf("while two callers wait, Progress is %q, want one pull", all)
	}
	cancel()
	for range 2 {
		if err := <-others; err == nil {
			t.Error("a canceled caller gets no error")
		}
	}
	if all := s.Progress(); len(all) > 0 {
		t.Errorf("when no caller waits, Progress is %q, want none", all)
	}
	if n := g.Pulls(); n < 1 || n > 2 { // HEAD, and with some engines GET
		t.Errorf("the registry received %d requests for the image, want 1 or 2", n)
	}
	// A canceled pull does not count as a failure of the registry.
	g.Intercept(nil)
	releaseAll()
	if pulled, err := s.prepare(t.Context(), g.Image(), nil); !pulled || err != nil {
		t.Errorf("next pull: pulled %v, %v; want a pull", pulled, err)
	}
	if all := s.Progress(); len(all) > 0 {
		t.Errorf("after the pull, Progress is %q, want none", all)
	}
}

// TestProgress sends the engine's messages one after the other and checks the description after each.
func TestProgress(t *testing.T) {
	p := &pull{name: "app:1", layers: map[string]*layer{}}
	of := func(current, total int64) *jsonstream.Progress {
		return &jsonstream.Progress{Current: current, Total: total}
	}
	for _, step := range []struct {
		m    jsonstream.Message
		want string
	}{
		{jsonstream.Message{ID: "1", Status: "Pulling from app"}, ""},
		{jsonstream.Message{ID: "a", Status: "Already exists"}, ": 1 of 1 layers"},
		{jsonstream.Message{ID: "b", Status: "Pulling fs layer"}, ": 1 of 2 layers"},
		{jsonstream.Message{ID: "b", Status: "Downloading", Progress: of(500_000, 0)}, ": 1 of 2 layers, 0.5 MB"},
		{jsonstream.Message{ID: "b", Status: "Downloading", Progress: of(1_000_000, 4_000_000)},
			": 1 of 2 layers, 1.0 of 4.0 MB"},
		{jsonstream.Message{ID: "c", Status: "Downloading", Progress: of(1_000_000, 2_000_000)},
			": 1 of 3 layers, 2.0 of 6.0 MB"},
		{jsonstream.Message{ID: "b", Status: "Download complete"}, ": 1 of 3 layers, 5.0 of 6.0 MB"},
		{jsonstream.Message{ID: "b", Status: "Extracting", Progress: of(10, 9_000_000)},
			": 1 of 3 layers, 5.0 of 6.0 MB"},
		{jsonstream.Message{ID: "b", Status: "Pull complete"}, ": 2 of 3 layers, 5.0 of 6.0 MB"},
		{jsonstream.Message{Status: "Digest: sha256:00"}, ": 2 of 3 layers, 5.0 of 6.0 MB"},
	} {
		p.update(step.m)
		if got := p.String(); got != "pulling image app:1"+step.want {
			t.Errorf("after %s %q: %q, want %q", step.m.ID, step.m.Status, got, step.want)
		}
	}
}
