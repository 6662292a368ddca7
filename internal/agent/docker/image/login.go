package image

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"

	"github.com/bakingclouds/rollcall/internal/agent"
)

// hubKey is what Docker's registry is called among the logins.
const hubKey = "https://index.docker.io/v1/"

// registryAuth is what the engine is given to log in where a reference leads: the definition's own login, else the one
// that `docker login` has kept for the user who runs this server; empty where there is none.
func registryAuth(ctx context.Context, ref reference.Named, login *agent.Login) (string, error) {
	key := reference.Domain(ref)
	if key == "docker.io" {
		key = hubKey
	}
	if login != nil {
		return authconfig.Encode(registry.AuthConfig{Username: login.Username, Password: login.Password, ServerAddress: key})
	}
	auth, err := keptLogin(ctx, key)
	if err != nil || auth == (registry.AuthConfig{}) {
		return "", err
	}
	auth.ServerAddress = key
	return authconfig.Encode(auth)
}

// clientConfig is the part of docker's own configuration that has logins (docker login, "Credential stores").
type clientConfig struct {
	Auths map[string]struct {
		Auth          string `json:"auth"`
		IdentityToken string `json:"identitytoken"`
	} `json:"auths"`
	CredsStore  string            `json:"credsStore"`
	CredHelpers map[string]string `json:"credHelpers"`
}

// keptLogin is a registry's login in docker's own configuration; zero where it has none. It is read each time, as docker
// does, since people log in and tokens are renewed while the server runs.
func keptLogin(ctx context.Context, key string) (none registry.AuthConfig, err error) {
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return none, nil // a service without a home has no logins
		}
		dir = filepath.Join(home, ".docker")
	}
	file := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return none, nil
	}
	if err != nil {
		return none, err
	}
	var c clientConfig
	if err := json.Unmarshal(text, &c); err != nil {
		return none, fmt.Errorf("%s: %w", file, err)
	}
	if helper := cmp.Or(c.CredHelpers[key], c.CredHelpers[host(key)], c.CredsStore); helper != "" {
		return askHelper(ctx, helper, key)
	}
	entry, ok := c.Auths[key]
	for name, e := range c.Auths { // old ones are called "https://registry.example/v1/"
		if !ok && host(name) == host(key) {
			entry, ok = e, true
		}
	}
	switch {
	case entry.IdentityToken != "":
		return registry.AuthConfig{IdentityToken: entry.IdentityToken}, nil
	case entry.Auth == "":
		return none, nil
	}
	plain, err := base64.StdEncoding.DecodeString(entry.Auth)
	user, password, found := strings.Cut(string(plain), ":")
	if err != nil || !found {
		return none, fmt.Errorf("%s: the login of %s is damaged; docker login %s makes it anew", file, host(key), host(key))
	}
	return registry.AuthConfig{Username: user, Password: strings.TrimRight(password, "\x00")}, nil
}

// host is a registry's name without what old configurations put around it.
func host(key string) string {
	if _, rest, ok := strings.Cut(key, "://"); ok {
		key = rest
	}
	key, _, _ = strings.Cut(key, "/")
	return key
}

// helperWithin is how long a credential helper may take: some ask over the network.
const helperWithin = 30 * time.Second

// tokenUser is the user name behind which a credential helper gives a token.
const tokenUser = "<token>"

// askHelper asks a credential helper, a program that is given a registry on its standard input and prints its login
// (docker/docker-credential-helpers, "Development").
func askHelper(ctx context.Context, helper, key string) (none registry.AuthConfig, err error) {
	ctx, cancel := context.WithTimeout(ctx, helperWithin)
	defer cancel()
	name := "docker-credential-" + helper
	cmd := exec.CommandContext(ctx, name, "get")
	cmd.Stdin, cmd.WaitDelay = strings.NewReader(key), time.Second
	out, err := cmd.Output()
	said := strings.TrimSpace(string(out)) // also what went wrong
	switch {
	case err != nil && strings.Contains(said, "credentials not found"):
		return none, nil
	case err != nil:
		return none, fmt.Errorf("%s: %w: %s", name, err, said)
	}
	var got struct{ Username, Secret string }
	if err := json.Unmarshal(out, &got); err != nil {
		return none, fmt.Errorf("%s: its answer cannot be read: %w", name, err)
	}
	if got.Username == tokenUser {
		return registry.AuthConfig{IdentityToken: got.Secret}, nil
	}
	return registry.AuthConfig{Username: got.Username, Password: got.Secret}, nil
}
