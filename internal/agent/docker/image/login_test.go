package image

import (
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/docker/dockertest"
)

// TestLogin pulls from a registry that requires a login. The login of the task definition comes first, then a
// credential helper's, then the one that docker login has stored.
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
	host := strings.TrimSuffix(g.Image(), "/app:1")
	installHelpers(t, host)
	auth := base64.StdEncoding.EncodeToString([]byte("me:pa:ss"))
	const stored = `{"auths":{"HOST":{"auth":"AUTH"}}}`
	for name, tc := range map[string]struct {
		config string
		login  *agent.Login
		ok     bool
	}{
		"no login":                     {},
		"task definition":              {login: &agent.Login{Username: "me", Password: "pa:ss"}, ok: true},
		"wrong one in task definition": {login: &agent.Login{Username: "me", Password: "no"}, config: stored},
		"docker login":                 {config: stored, ok: true},
		"docker login of old versions": {config: `{"auths":{"https://HOST/v1/":{"auth":"AUTH"}}}`, ok: true},
		"login for another registry":   {config: `{"auths":{"example.com":{"auth":"AUTH"}}}`},
		"helper":                       {config: `{"credHelpers":{"HOST":"good"},"credsStore":"none"}`, ok: true},
		"store":                        {config: `{"credsStore":"good","auths":{"HOST":{}}}`, ok: true},
		"store without the login":      {config: `{"credsStore":"none","auths":{"HOST":{}}}`},
		"helper fails":                 {config: `{"credsStore":"bad"}`},
		"helper does not exist":        {config: `{"credsStore":"nonexistent"}`},
		"damaged login":                {config: `{"auths":{"HOST":{"auth":"%"}}}`},
		"damaged file":                 {config: `{`},
		"stored login without an auth": {config: `{"auths":{"HOST":{}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestStore(t, engine)
			text := strings.NewReplacer("HOST", host, "AUTH", auth).Replace(tc.config)
			if text != "" {
				file := filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json")
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := s.prepare(t.Context(), g.Image(), tc.login)
			if tc.ok != (err == nil) {
				t.Fatalf("pull: %v, want success: %v", err, tc.ok)
			}
			if err != nil && !strings.Contains(err.Error(), "docker login "+host) {
				t.Errorf("error %q does not suggest docker login", err)
			}
		})
	}
}

// installHelpers adds the credential helpers good, none and bad to $PATH.
func installHelpers(t *testing.T, host string) {
	t.Helper()
	bin := t.TempDir()
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for name, text := range map[string]string{
		"docker-credential-good": `#!/bin/sh
read key
if [ "$1 $key" = "get ` + host + `" ]; then
	echo '{"ServerURL":"x","Username":"me","Secret":"pa:ss"}'
else
	echo "unexpected request $1 $key"
	exit 1
fi`,
		"docker-credential-none": "#!/bin/sh\necho 'credentials not found in native keychain'; exit 1",
		"docker-credential-bad":  "#!/bin/sh\necho 'the keychain is locked'; exit 1",
	} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
}
