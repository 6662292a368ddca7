package docker

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

// testRegistry is a registry with one image, app:1 (Docker Registry HTTP API V2). The engine talks HTTP to those on 127.0.0.0/8.
type testRegistry struct {
	*httptest.Server
	blobs  map[string][]byte
	digest string // of the manifest

	mu    sync.Mutex
	pulls int // how often the manifest was asked for by its tag
	// answer is asked first; true says that it has answered.
	answer func(w http.ResponseWriter, r *http.Request) bool
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// serveRegistry serves an image for an architecture, with a layer of so many bytes that no other image has.
func serveRegistry(t *testing.T, arch string, size int) *testRegistry {
	t.Helper()
	var layer bytes.Buffer
	archive := tar.NewWriter(&layer)
	content := make([]byte, size)
	rand.Read(content)
	if err := archive.WriteHeader(&tar.Header{Name: "content", Mode: 0o644, Size: int64(size)}); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(layer.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	encode := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	type object = map[string]any
	config := encode(object{"architecture": arch, "os": "linux", "config": object{}, "rootfs": object{"type": "layers", "diff_ids": []string{digestOf(layer.Bytes())}}})
	const docker = "application/vnd.docker."
	manifest := encode(object{
		"schemaVersion": 2, "mediaType": docker + "distribution.manifest.v2+json",
		"config": object{"mediaType": docker + "container.image.v1+json", "size": len(config), "digest": digestOf(config)},
		"layers": []object{{"mediaType": docker + "image.rootfs.diff.tar.gzip", "size": zipped.Len(), "digest": digestOf(zipped.Bytes())}},
	})
	list := encode(object{
		"schemaVersion": 2, "mediaType": docker + "distribution.manifest.list.v2+json",
		"manifests": []object{{"mediaType": docker + "distribution.manifest.v2+json", "size": len(manifest), "digest": digestOf(manifest),
			"platform": object{"architecture": arch, "os": "linux"}}},
	})
	g := &testRegistry{blobs: map[string][]byte{}, digest: digestOf(list)}
	for _, b := range [][]byte{config, zipped.Bytes(), manifest, list} {
		g.blobs[digestOf(b)] = b
	}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		answer := g.answer
		if r.URL.Path == "/v2/app/manifests/1" {
			g.pulls++
		}
		g.mu.Unlock()
		if answer != nil && answer(w, r) {
			return
		}
		name := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		if name == "1" {
			name = g.digest
		}
		blob, ok := g.blobs[name]
		switch {
		case r.URL.Path == "/v2/":
		case !ok:
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`))
		default:
			var typed struct{ MediaType string }
			_ = json.Unmarshal(blob, &typed) // a layer has none
			if typed.MediaType == "" {
				typed.MediaType = "application/octet-stream"
			}
			w.Header().Set("Content-Type", typed.MediaType)
			w.Header().Set("Docker-Content-Digest", name)
			_, _ = w.Write(blob)
		}
	}))
	t.Cleanup(g.Close)
	return g
}

// answers sets what is asked first.
func (g *testRegistry) answers(f func(w http.ResponseWriter, r *http.Request) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answer = f
}

// asked is how often the image was asked for since the last call.
func (g *testRegistry) asked() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	defer func() { g.pulls = 0 }()
	return g.pulls
}

// image is the name of the image.
func (g *testRegistry) image() string { return strings.TrimPrefix(g.URL, "http://") + "/app:1" }

// thisPlatform is what this machine runs.
const thisPlatform = runtime.GOARCH

// otherPlatform is what it does not.
func otherPlatform() string {
	if thisPlatform == "s390x" {
		return "ppc64le"
	}
	return "s390x"
}
