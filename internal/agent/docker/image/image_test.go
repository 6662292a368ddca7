package image

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/bakingclouds/rollcall/internal/agent/docker/dockertest"

	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// puller is a node's images.
type puller struct {
	*Store
	t *testing.T
}

func newPuller(t *testing.T, engine *client.Client) *puller {
	t.Setenv("DOCKER_CONFIG", t.TempDir()) // no logins
	return &puller{Store: NewStore(engine, "", slog.New(slog.DiscardHandler)), t: t}
}

// prepares prepares an image, which is removed when the test ends, and says whether it was pulled.
func (p *puller) prepares(ctx context.Context, name string, login *agent.Login) (pulled bool, err error) {
	p.t.Cleanup(func() {
		_, _ = p.engine.ImageRemove(context.Background(), name, client.ImageRemoveOptions{Force: true}) // there may be none
	})
	err = p.Prepare(ctx, name, login, func() { pulled = true })
	return pulled, err
}

// TestPull: an image is as new as its registry has it, and the one that is here does when the registry fails.
func TestPull(t *testing.T) {
	p := newPuller(t, dockertest.Engine(t))
	g := dockertest.ServeRegistry(t, dockertest.Platform, 100)
	for range 2 {
		if pulled, err := p.prepares(t.Context(), g.Image(), nil); !pulled || err != nil {
			t.Fatalf("pulled: %v, %v", pulled, err)
		}
		if g.Pulls() == 0 {
			t.Error("the registry was not asked")
		}
	}
	id, digest, err := p.Local(t.Context(), g.Image())
	if err != nil || digest != g.Digest || !strings.HasPrefix(id, "sha256:") || id == digest {
		t.Errorf("it is %s, %s, %v; want the digest %s", id, digest, err, g.Digest)
	}
	g.Intercept(func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(500); return true })
	pinned := strings.TrimSuffix(g.Image(), ":1") + "@" + g.Digest
	if pulled, err := p.prepares(t.Context(), pinned, nil); pulled || err != nil {
		t.Errorf("one with a digest that is here: pulled %v, %v", pulled, err)
	}
	if pulled, err := p.prepares(t.Context(), g.Image(), nil); !pulled || err != nil {
		t.Errorf("the registry fails: pulled %v, %v", pulled, err)
	}
	if pulled, err := p.prepares(t.Context(), g.Image(), nil); pulled || err != nil {
		t.Errorf("the registry has just failed: pulled %v, %v", pulled, err)
	}
	other := strings.Replace(g.Image(), "app", "other", 1)
	if pulled, err := p.prepares(t.Context(), other, nil); !pulled || !fault.Is(err, fault.Invalid) {
		t.Errorf("one that is not here: pulled %v, %v", pulled, err)
	}
}

// TestNoPull: what was made here comes from no registry.
func TestNoPull(t *testing.T) {
	engine := dockertest.Engine(t)
	p := newPuller(t, engine)
	name := "rollcall-test/" + strings.ToLower(rand.Text())
	var archive bytes.Buffer
	if err := tar.NewWriter(&archive).Close(); err != nil {
		t.Fatal(err)
	}
	done, err := engine.ImageImport(t.Context(), client.ImageImportSource{Source: &archive, SourceName: "-"}, name, client.ImageImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, done); err != nil {
		t.Fatal(err)
	}
	if pulled, err := p.prepares(t.Context(), name, nil); pulled || err != nil {
		t.Errorf("pulled %v, %v", pulled, err)
	}
	id, digest, err := p.Local(t.Context(), name)
	if err != nil || digest != id {
		t.Errorf("it is %s, %s, %v", id, digest, err)
	}
	for _, bad := range []string{"UPPER", "a b", ""} {
		if pulled, err := p.prepares(t.Context(), bad, nil); pulled || !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "CannotPullContainerError: ") {
			t.Errorf("%q: pulled %v, %v", bad, pulled, err)
		}
	}
}

// TestCannotPull: ECS's word for it, the engine's reason, and what to do.
func TestCannotPull(t *testing.T) {
	engine := dockertest.Engine(t)
	p := newPuller(t, engine)
	status := func(code int) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/manifests/") {
				w.WriteHeader(code)
				return true
			}
			return false
		}
	}
	for name, tc := range map[string]struct {
		arch   string
		tag    string // the registry has only 1
		answer func(w http.ResponseWriter, r *http.Request) bool
		closed bool
		want   []string
	}{
		"no such tag":    {tag: "2", want: []string{"manifest unknown", "docker load"}},
		"an error":       {answer: status(500), want: []string{"500", "check that this machine reaches 127.0.0.1:"}},
		"no rights":      {answer: status(403), want: []string{"403", "docker login 127.0.0.1:"}},
		"nobody listens": {closed: true, want: []string{"connection refused", "check that this machine reaches 127.0.0.1:"}},
		"other platform": {arch: dockertest.OtherPlatform(), want: []string{"no matching manifest", "platform"}},
		"damaged": {want: []string{"verification failed", "damaged"}, answer: func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/blobs/") {
				_, _ = w.Write(bytes.Repeat([]byte("x"), 300))
				return true
			}
			return false
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.arch == "" {
				tc.arch = dockertest.Platform
			}
			g := dockertest.ServeRegistry(t, tc.arch, 100)
			g.Intercept(tc.answer)
			image := g.Image()
			if tc.closed {
				g.Close()
			}
			if tc.tag != "" {
				image = strings.TrimSuffix(image, "1") + tc.tag
			}
			pulled, err := p.prepares(t.Context(), image, nil)
			if !pulled || !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "CannotPullContainerError: "+image+": ") {
				t.Fatalf("pulled %v, %v", pulled, err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v does not say %q", err, want)
				}
			}
		})
	}
	gone, err := client.New(client.WithHost("unix://"+filepath.Join(t.TempDir(), "no.sock")), client.WithAPIVersion("1.41"))
	if err != nil {
		t.Fatal(err)
	}
	for _, image := range []string{"app:1", Sample} {
		i := NewStore(gone, dockertest.Build(t, "package main\n\nfunc main() {}"), slog.New(slog.DiscardHandler))
		if err := i.Prepare(t.Context(), image, nil, func() {}); !fault.Is(err, fault.Unavailable) {
			t.Errorf("no engine answers: %s: %v", image, err)
		}
		if _, _, err := i.Local(t.Context(), image); !fault.Is(err, fault.Unavailable) {
			t.Errorf("no engine answers: %s: %v", image, err)
		}
	}
}

// TestLogin: the definition's login wins, then a credential helper's, then the one of docker login.
func TestLogin(t *testing.T) {
	engine := dockertest.Engine(t)
	g := dockertest.ServeRegistry(t, dockertest.Platform, 100)
	g.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		user, password, _ := r.BasicAuth()
		if user == "me" && password == "pa:ss" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`))
		return true
	})
	bin := t.TempDir()
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	host := strings.TrimSuffix(g.Image(), "/app:1")
	for name, text := range map[string]string{
		"docker-credential-good": `#!/bin/sh
read key; if [ "$1 $key" = "get ` + host + `" ]; then echo '{"ServerURL":"x","Username":"me","Secret":"pa:ss"}'; else echo "asked for $1 $key"; exit 1; fi`,
		"docker-credential-none": "#!/bin/sh\necho 'credentials not found in native keychain'; exit 1",
		"docker-credential-bad":  "#!/bin/sh\necho 'the keychain is locked'; exit 1",
	} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	auth := base64.StdEncoding.EncodeToString([]byte("me:pa:ss"))
	for name, tc := range map[string]struct {
		config string
		login  *agent.Login
		ok     bool
	}{
		"none":                 {},
		"the definition's":     {login: &agent.Login{Username: "me", Password: "pa:ss"}, ok: true},
		"a wrong one":          {login: &agent.Login{Username: "me", Password: "no"}, config: `{"auths":{"HOST":{"auth":"AUTH"}}}`},
		"docker login":         {config: `{"auths":{"HOST":{"auth":"AUTH"}}}`, ok: true},
		"an old docker login":  {config: `{"auths":{"https://HOST/v1/":{"auth":"AUTH"}}}`, ok: true},
		"another registry's":   {config: `{"auths":{"example.com":{"auth":"AUTH"}}}`},
		"a helper":             {config: `{"credHelpers":{"HOST":"good"},"credsStore":"none"}`, ok: true},
		"a store":              {config: `{"credsStore":"good","auths":{"HOST":{}}}`, ok: true},
		"a store without":      {config: `{"credsStore":"none","auths":{"HOST":{}}}`},
		"a helper that fails":  {config: `{"credsStore":"bad"}`},
		"a helper not there":   {config: `{"credsStore":"nonexistent"}`},
		"a damaged login":      {config: `{"auths":{"HOST":{"auth":"%"}}}`},
		"a damaged file":       {config: `{`},
		"a login without auth": {config: `{"auths":{"HOST":{}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPuller(t, engine)
			text := strings.NewReplacer("HOST", host, "AUTH", auth).Replace(tc.config)
			if text != "" {
				if err := os.WriteFile(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := p.prepares(t.Context(), g.Image(), tc.login)
			if tc.ok != (err == nil) {
				t.Fatalf("%v", err)
			}
			if err != nil && !strings.Contains(err.Error(), "docker login "+host) {
				t.Errorf("%v does not say what to do", err)
			}
		})
	}
}

// TestSlowPull: equal pulls are one, which tells how far it is, and ends when nobody waits any more.
func TestSlowPull(t *testing.T) {
	p := newPuller(t, dockertest.Engine(t))
	g := dockertest.ServeRegistry(t, dockertest.Platform, 3<<20)
	asked, release := make(chan struct{}, 100), make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	t.Cleanup(free) // before the server is closed
	hold := func(w http.ResponseWriter, r *http.Request) bool {
		blob := g.Blobs[dockertest.BlobOf(r)]
		if len(blob) < 1<<20 {
			return false
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(blob)))
		_, _ = w.Write(blob[:len(blob)/2])
		w.(http.Flusher).Flush()
		asked <- struct{}{}
		<-release
		_, _ = w.Write(blob[len(blob)/2:])
		return true
	}
	g.Intercept(hold)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	impatient, leave := context.WithCancel(ctx)
	first, others := make(chan error, 1), make(chan error, 2)
	go func() { _, err := p.prepares(impatient, g.Image(), nil); first <- err }()
	<-asked
	for range 2 {
		go func() { _, err := p.prepares(ctx, g.Image(), nil); others <- err }()
	}
	dockertest.Eventually(t, "three wait for one pull", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.pulling) == 1 && p.pulling[g.Image()].waiters == 3
	})
	dockertest.Eventually(t, "the progress is told", func() bool {
		all := p.Progress()
		return len(all) == 1 && strings.Contains(all[0], "pulling image "+g.Image()+": 0 of 1 layers, ") && strings.HasSuffix(all[0], " of 3.1 MB")
	})
	leave()
	if err := <-first; err == nil {
		t.Error("who gives up gets no error")
	}
	if all := p.Progress(); len(all) != 1 {
		t.Errorf("somebody waits, and what is pulled is %q", all)
	}
	cancel()
	for range 2 {
		if err := <-others; err == nil {
			t.Error("who gives up gets no error")
		}
	}
	if all := p.Progress(); len(all) > 0 {
		t.Errorf("nobody waits, and what is pulled is %q", all)
	}
	if n := g.Pulls(); n < 1 || n > 2 { // by HEAD, and some engines then by GET
		t.Errorf("the registry was asked for the image %d times", n)
	}
	// It has not failed, so it is begun anew at once.
	g.Intercept(nil)
	free()
	if pulled, err := p.prepares(t.Context(), g.Image(), nil); !pulled || err != nil {
		t.Errorf("then: pulled %v, %v", pulled, err)
	}
	if all := p.Progress(); len(all) > 0 {
		t.Errorf("at the end: %q", all)
	}
}

// TestProgress: what the engine tells of layers, as one line.
func TestProgress(t *testing.T) {
	p := &pull{name: "app:1", layers: map[string]*layer{}}
	at := func(here, size int64) *jsonstream.Progress { return &jsonstream.Progress{Current: here, Total: size} }
	for _, step := range []struct {
		m    jsonstream.Message
		want string
	}{
		{jsonstream.Message{ID: "1", Status: "Pulling from app"}, ""},
		{jsonstream.Message{ID: "a", Status: "Already exists"}, ": 1 of 1 layers"},
		{jsonstream.Message{ID: "b", Status: "Pulling fs layer"}, ": 1 of 2 layers"},
		{jsonstream.Message{ID: "b", Status: "Downloading", Progress: at(500_000, 0)}, ": 1 of 2 layers, 0.5 MB"},
		{jsonstream.Message{ID: "b", Status: "Downloading", Progress: at(1_000_000, 4_000_000)}, ": 1 of 2 layers, 1.0 of 4.0 MB"},
		{jsonstream.Message{ID: "c", Status: "Downloading", Progress: at(1_000_000, 2_000_000)}, ": 1 of 3 layers, 2.0 of 6.0 MB"},
		{jsonstream.Message{ID: "b", Status: "Download complete"}, ": 1 of 3 layers, 5.0 of 6.0 MB"},
		{jsonstream.Message{ID: "b", Status: "Extracting", Progress: at(10, 9_000_000)}, ": 1 of 3 layers, 5.0 of 6.0 MB"},
		{jsonstream.Message{ID: "b", Status: "Pull complete"}, ": 2 of 3 layers, 5.0 of 6.0 MB"},
		{jsonstream.Message{Status: "Digest: sha256:00"}, ": 2 of 3 layers, 5.0 of 6.0 MB"},
	} {
		p.update(step.m)
		if got := p.String(); got != "pulling image app:1"+step.want {
			t.Errorf("after %s %q: %q, want %q", step.m.ID, step.m.Status, got, step.want)
		}
	}
}
