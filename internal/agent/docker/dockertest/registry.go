package dockertest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// Platform is the architecture of images that this machine runs.
const Platform = runtime.GOARCH

// OtherPlatform returns an architecture that this machine does not run.
func OtherPlatform() string {
	if Platform == "s390x" {
		return "ppc64le"
	}
	return "s390x"
}

// Registry is a registry with one image, app:1 (Docker Registry HTTP API V2). The engine uses plain HTTP for registries
// in 127.0.0.0/8.
type Registry struct {
	*httptest.Server
	Digest string            // of the image's manifest list
	Blobs  map[string][]byte // by digest

	mu        sync.Mutex
	pulls     int // requests for the manifest by its tag
	intercept func(w http.ResponseWriter, r *http.Request) bool
}

// ServeRegistry serves an image for an architecture. Its one layer has size random bytes, so that the engine has to
// pull it.
func ServeRegistry(t *testing.T, arch string, size int) *Registry {
	t.Helper()
	layer := tarOf(t, "content", size)
	zipped := gzipOf(t, layer)
	type object = map[string]any
	const mediaType = "application/vnd.docker."
	config := encode(t, object{
		"architecture": arch, "os": "linux", "config": object{},
		"rootfs": object{"type": "layers", "diff_ids": []string{digestOf(layer)}},
	})
	manifest := encode(t, object{
		"schemaVersion": 2, "mediaType": mediaType + "distribution.manifest.v2+json",
		"config": object{
			"mediaType": mediaType + "container.image.v1+json", "size": len(config), "digest": digestOf(config),
		},
		"layers": []object{
			{"mediaType": mediaType + "image.rootfs.diff.tar.gzip", "size": len(zipped), "digest": digestOf(zipped)},
		},
	})
	list := encode(t, object{
		"schemaVersion": 2, "mediaType": mediaType + "distribution.manifest.list.v2+json",
		"manifests": []object{{
			"mediaType": mediaType + "distribution.manifest.v2+json",
			"size":      len(manifest), "digest": digestOf(manifest),
			"platform": object{"architecture": arch, "os": "linux"},
		}},
	})
	g := &Registry{Blobs: map[string][]byte{}, Digest: digestOf(list)}
	for _, b := range [][]byte{config, zipped, manifest, list} {
		g.Blobs[digestOf(b)] = b
	}
	g.Server = httptest.NewServer(http.HandlerFunc(g.serve))
	t.Cleanup(g.Close)
	return g
}

func (g *Registry) serve(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	intercept := g.intercept
	if r.URL.Path == "/v2/app/manifests/1" {
		g.pulls++
	}
	g.mu.Unlock()
	if intercept != nil && intercept(w, r) {
		return
	}
	name := BlobOf(r)
	if name == "1" {
		name = g.Digest
	}
	blob, ok := g.Blobs[name]
	switch {
	case r.URL.Path == "/v2/":
	case !ok:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`))
	default:
		var typed struct{ MediaType string }
		_ = json.Unmarshal(blob, &typed) // a layer is not JSON
		if typed.MediaType == "" {
			typed.MediaType = "application/octet-stream"
		}
		w.Header().Set("Content-Type", typed.MediaType)
		w.Header().Set("Docker-Content-Digest", name)
		_, _ = w.Write(blob)
	}
}

// BlobOf returns the tag or digest that a request is for.
func BlobOf(r *http.Request) string { return r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:] }

// Intercept sets a handler that sees each request first. It returns true if it has answered the request.
func (g *Registry) Intercept(f func(w http.ResponseWriter, r *http.Request) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.intercept = f
}

// Pulls returns the number of requests for the image since the last call.
func (g *Registry) Pulls() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	defer func() { g.pulls = 0 }()
	return g.pulls
}

// Image returns the reference of the image.
func (g *Registry) Image() string { return strings.TrimPrefix(g.URL, "http://") + "/app:1" }

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// tarOf returns an archive with one file of random bytes.
func tarOf(t *testing.T, name string, size int) []byte {
	t.Helper()
	var buf bytes.Buffer
	content := make([]byte, size)
	rand.Read(content)
	archive := tar.NewWriter(&buf)
	if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(size)}); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gzipOf(t *testing.T, content []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := z.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
