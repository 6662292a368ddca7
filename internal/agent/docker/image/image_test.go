package image

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/docker/dockertest"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// testStore is a Store without stored logins. It removes its images at the end of the test.
type testStore struct {
	*Store
	t *testing.T
}

func newTestStore(t *testing.T, engine *client.Client) *testStore {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	return &testStore{Store: NewStore(engine, "", slog.New(slog.DiscardHandler)), t: t}
}

// prepare calls Prepare and reports whether it has pulled the image.
func (s *testStore) prepare(ctx context.Context, name string, login *agent.Login) (pulled bool, err error) {
	s.t.Cleanup(func() { // the image may not exist
		_, _ = s.engine.ImageRemove(context.Background(), name, client.ImageRemoveOptions{Force: true})
	})
	err = s.Prepare(ctx, name, login, func() { pulled = true })
	return pulled, err
}

// TestPrepare checks that an image is pulled each time, and that the image on the machine is used if its registry
// fails.
func TestPrepare(t *testing.T) {
	s := newTestStore(t, dockertest.Engine(t))
	g := dockertest.ServeRegistry(t, dockertest.Platform, 100)
	for range 2 {
		if pulled, err := s.prepare(t.Context(), g.Image(), nil); !pulled || err != nil {
			t.Fatalf("pulled %v, %v; want a pull", pulled, err)
		}
		if g.Pulls() == 0 {
			t.Error("the registry received no request")
		}
	}
	id, digest, err := s.Local(t.Context(), g.Image())
	if err != nil || digest != g.Digest || !strings.HasPrefix(id, "sha256:") || id == digest {
		t.Errorf("Local returned %s, %s, %v; want the digest %s", id, digest, err, g.Digest)
	}
	g.Intercept(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(500); return true })
	withDigest := strings.TrimSuffix(g.Image(), ":1") + "@" + g.Digest
	if pulled, err := s.prepare(t.Context(), withDigest, nil); pulled || err != nil {
		t.Errorf("reference with a digest: pulled %v, %v; want no pull", pulled, err)
	}
	if pulled, err := s.prepare(t.Context(), g.Image(), nil); !pulled || err != nil {
		t.Errorf("registry fails: pulled %v, %v; want a pull without an error", pulled, err)
	}
	if pulled, err := s.prepare(t.Context(), g.Image(), nil); pulled || err != nil {
		t.Errorf("registry has just failed: pulled %v, %v; want no pull", pulled, err)
	}
	other := strings.Replace(g.Image(), "app", "other", 1)
	if pulled, err := s.prepare(t.Context(), other, nil); !pulled || !fault.Is(err, fault.Invalid) {
		t.Errorf("image is not on the machine: pulled %v, %v; want a pull and fault.Invalid", pulled, err)
	}
}

// TestPrepareLocalImage checks that an image that was made on this machine is not pulled, and that bad names are
// rejected.
func TestPrepareLocalImage(t *testing.T) {
	engine := dockertest.Engine(t)
	s := newTestStore(t, engine)
	name := "rollcall-test/" + strings.ToLower(rand.Text())
	var archive bytes.Buffer
	if err := tar.NewWriter(&archive).Close(); err != nil {
		t.Fatal(err)
	}
	source := client.ImageImportSource{Source: &archive, SourceName: "-"}
	done, err := engine.ImageImport(t.Context(), source, name, client.ImageImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, done); err != nil {
		t.Fatal(err)
	}
	if pulled, err := s.prepare(t.Context(), name, nil); pulled || err != nil {
		t.Errorf("pulled %v, %v; want no pull", pulled, err)
	}
	id, digest, err := s.Local(t.Context(), name)
	if err != nil || digest != id {
		t.Errorf("Local returned %s, %s, %v; want the id twice", id, digest, err)
	}
	for _, bad := range []string{"UPPER", "a b", ""} {
		pulled, err := s.prepare(t.Context(), bad, nil)
		if pulled || !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "CannotPullContainerError: ") {
			t.Errorf("name %q: pulled %v, %v; want CannotPullContainerError without a pull", bad, pulled, err)
		}
	}
}

// TestPullErrors checks that the error for a failed pull has ECS's code, the engine's reason, and advice.
func TestPullErrors(t *testing.T) {
	s := newTestStore(t, dockertest.Engine(t))
	status := func(code int) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/manifests/") {
				w.WriteHeader(code)
				return true
			}
			return false
		}
	}
	damage := func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") {
			_, _ = w.Write(bytes.Repeat([]byte("x"), 300))
			return true
		}
		return false
	}
	const checkNetwork = "check that this machine reaches 127.0.0.1:"
	for name, tc := range map[string]struct {
		arch      string
		tag       string // the registry has only tag 1
		intercept func(w http.ResponseWriter, r *http.Request) bool
		closed    bool
		want      []string
	}{
		"unknown tag":           {tag: "2", want: []string{"manifest unknown", "docker load"}},
		"error of the registry": {intercept: status(500), want: []string{"500", checkNetwork}},
		"access denied":         {intercept: status(403), want: []string{"403", "docker login 127.0.0.1:"}},
		"registry is down":      {closed: true, want: []string{"connection refused", checkNetwork}},
		"other platform":        {arch: dockertest.OtherPlatform(), want: []string{"no matching manifest", "platform"}},
		"damaged data":          {intercept: damage, want: []string{"verification failed", "damaged"}},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.arch == "" {
				tc.arch = dockertest.Platform
			}
			g := dockertest.ServeRegistry(t, tc.arch, 100)
			g.Intercept(tc.intercept)
			image := g.Image()
			if tc.closed {
				g.Close()
			}
			if tc.tag != "" {
				image = strings.TrimSuffix(image, "1") + tc.tag
			}
			pulled, err := s.prepare(t.Context(), image, nil)
			if !pulled || !fault.Is(err, fault.Invalid) ||
				!strings.Contains(err.Error(), "CannotPullContainerError: "+image+": ") {
				t.Fatalf("pulled %v, %v; want CannotPullContainerError", pulled, err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q lacks %q", err, want)
				}
			}
		})
	}
}

// TestNoEngine checks that an engine that does not answer can be retried.
func TestNoEngine(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "no.sock")
	engine, err := client.New(client.WithHost("unix://"+socket), client.WithAPIVersion("1.41"))
	if err != nil {
		t.Fatal(err)
	}
	for _, image := range []string{"app:1", Sample} {
		s := NewStore(engine, dockertest.Build(t, "package main\n\nfunc main() {}"), slog.New(slog.DiscardHandler))
		if err := s.Prepare(t.Context(), image, nil, func() {}); !fault.Is(err, fault.Unavailable) {
			t.Errorf("Prepare(%s): %v, want fault.Unavailable", image, err)
		}
		if _, _, err := s.Local(t.Context(), image); !fault.Is(err, fault.Unavailable) {
			t.Errorf("Local(%s): %v, want fault.Unavailable", image, err)
		}
	}
}
