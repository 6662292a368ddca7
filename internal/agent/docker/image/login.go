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

// hubKey is the key of Docker Hub's login in docker's configuration.
const hubKey = "https://index.docker.io/v1/"

// registryAuth returns the login that the engine sends to a reference's registry: the one of the task definition, or
// the one that docker login has stored for the user that runs this server. It is empty if there is none.
func registryAuth(ctx context.Context, ref reference.Named, login *agent.Login) (string, error) {
	key := reference.Domain(ref)
	if key == "docker.io" {
		key = hubKey
	}
	if login != nil {
		return authconfig.Encode(registry.AuthConfig{
			Username: login.Username, Password: login.Password, ServerAddress: key,
		})
	}
	auth, err := storedLogin(ctx, key)
	if err != nil || auth == (registry.AuthConfig{}) {
		return "", err
	}
	auth.ServerAddress = key
	return authconfig.Encode(auth)
}

// clientConfig is the part of docker's configuration file that has logins (docker login, "Credential stores").
type clientConfig struct {
	Auths       map[string]storedAuth `json:"auths"`
	CredsStore  string                `json:"credsStore"`
	CredHelpers map[string]string     `json:"credHelpers"`
}

// storedAuth is a login in the configuration file. Auth is the base64 encoding of "user:password".
type storedAuth struct {
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
}

// storedLogin returns a registry's login from docker's configuration, or a zero one if it has none. It reads the file
// each time, as docker does, since users log in and tokens are renewed while the server runs.
func storedLogin(ctx context.Context, key string) (none registry.AuthConfig, err error) {
	file := configFile()
	if file == "" {
		return none, nil
	}
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
	if helper := cmp.Or(c.CredHelpers[key], c.CredHelpers[hostOf(key)], c.CredsStore); helper != "" {
		return askHelper(ctx, helper, key)
	}
	login, err := c.find(key).login()
	if err != nil {
		return none, fmt.Errorf("%s: the login for %[2]s is damaged; log in again with docker login %[2]s",
			file, hostOf(key))
	}
	return login, nil
}

// configFile returns the name of docker's configuration file. It is empty for a user without a home folder.
func configFile() string {
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		dir = filepath.Join(home, ".docker")
	}
	return filepath.Join(dir, "config.json")
}

// find returns the login stored for a registry. Old versions of docker have stored it under a URL such as
// "https://registry.example/v1/".
func (c *clientConfig) find(key string) storedAuth {
	if auth, ok := c.Auths[key]; ok {
		return auth
	}
	for name, auth := range c.Auths {
		if hostOf(name) == hostOf(key) {
			return auth
		}
	}
	return storedAuth{}
}

func (a storedAuth) login() (login registry.AuthConfig, err error) {
	switch {
	case a.IdentityToken != "":
		return registry.AuthConfig{IdentityToken: a.IdentityToken}, nil
	case a.Auth == "":
		return login, nil
	}
	plain, err := base64.StdEncoding.DecodeString(a.Auth)
	if err != nil {
		return login, err
	}
	user, password, found := strings.Cut(string(plain), ":")
	if !found {
		return login, errors.New("no colon between user and password")
	}
	return registry.AuthConfig{Username: user, Password: strings.TrimRight(password, "\x00")}, nil
}

// hostOf returns the host of a registry's key, which may be a URL.
func hostOf(key string) string {
	if _, rest, ok := strings.Cut(key, "://"); ok {
		key = rest
	}
	key, _, _ = strings.Cut(key, "/")
	return key
}

// helperTimeout limits a credential helper. Some of them use the network.
const helperTimeout = 30 * time.Second

// tokenUser is the user name with which a credential helper marks a token.
const tokenUser = "<token>"

// askHelper asks a credential helper for a login. A helper is a program that reads the registry from its standard input
// and prints the login (docker/docker-credential-helpers, "Development").
func askHelper(ctx context.Context, helper, key string) (none registry.AuthConfig, err error) {
	ctx, cancel := context.WithTimeout(ctx, helperTimeout)
	defer cancel()
	name := "docker-credential-" + helper
	cmd := exec.CommandContext(ctx, name, "get")
	cmd.Stdin, cmd.WaitDelay = strings.NewReader(key), time.Second
	out, err := cmd.Output()
	message := strings.TrimSpace(string(out)) // helpers print errors to standard output too
	switch {
	case err != nil && strings.Contains(message, "credentials not found"):
		return none, nil
	case err != nil:
		return none, fmt.Errorf("%s: %w: %s", name, err, message)
	}
	var login struct{ Username, Secret string }
	if err := json.Unmarshal(out, &login); err != nil {
		return none, fmt.Errorf("%s: parse its output: %w", name, err)
	}
	if login.Username == tokenUser {
		return registry.AuthConfig{IdentityToken: login.Secret}, nil
	}
	return registry.AuthConfig{Username: login.Username, Password: login.Secret}, nil
}
