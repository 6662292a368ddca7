package docker

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"

	"github.com/bakingclouds/rollcall/internal/agent"
)

// hubKey is what Docker's registry is called among the logins.
const hubKey = "https://index.docker.io/v1/"

// registryAuth is what the engine is given to log in where a reference leads: the definition's own login, else the one
// that `docker login` has kept for the user who runs this server; empty where there is none.
func registryAuth(ref reference.Named, login *agent.Login) (string, error) {
	key := reference.Domain(ref)
	if key == "docker.io" {
		key = hubKey
	}
	auth := registry.AuthConfig{ServerAddress: key}
	if login != nil {
		auth.Username, auth.Password = login.Username, login.Password
		return authconfig.Encode(auth)
	}
	kept, err := keptLogin(key)
	if err != nil || kept == nil {
		return "", err
	}
	auth.Username, auth.Password = kept.Username, kept.Password
	if kept.Username == tokenUser {
		auth = registry.AuthConfig{ServerAddress: key, IdentityToken: kept.Password}
	}
	return authconfig.Encode(auth)
}

// tokenUser is the user name behind which a credential helper gives a token.
const tokenUser = "<token>"

// clientConfig is the part of docker's own configuration that has logins (docker login, "Credential stores").
type clientConfig struct {
	Auths       map[string]struct{ Auth string } `json:"auths"`
	CredsStore  string                           `json:"credsStore"`
	CredHelpers map[string]string                `json:"credHelpers"`
}

// keptLogin is a registry's login in docker's own configuration; nil where it has none.
func keptLogin(key string) (*agent.Login, error) {
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, nil // a service without a home has no logins
		}
		dir = filepath.Join(home, ".docker")
	}
	file := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var c clientConfig
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	helper := c.CredHelpers[key]
	if helper == "" {
		helper = c.CredsStore
	}
	if helper != "" {
		return askHelper(helper, key)
	}
	for _, name := range []string{key, "https://" + key, "http://" + key} {
		if entry, ok := c.Auths[name]; ok && entry.Auth != "" {
			plain, err := base64.StdEncoding.DecodeString(entry.Auth)
			user, password, found := strings.Cut(string(plain), ":")
			if err != nil || !found {
				return nil, fmt.Errorf("%s: the login of %s is damaged; docker login %s makes it anew", file, name, key)
			}
			return &agent.Login{Username: user, Password: strings.TrimRight(password, "\x00")}, nil
		}
	}
	return nil, nil
}

// askHelper asks a credential helper, a program that is given a registry on its standard input and prints its login
// (docker/docker-credential-helpers, "Development").
func askHelper(helper, key string) (*agent.Login, error) {
	cmd := exec.Command("docker-credential-"+helper, "get")
	cmd.Stdin = strings.NewReader(key)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		if strings.Contains(out.String(), "credentials not found") {
			return nil, nil
		}
		return nil, fmt.Errorf("docker-credential-%s: %w: %s", helper, err, strings.TrimSpace(out.String()))
	}
	var got struct{ Username, Secret string }
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		return nil, fmt.Errorf("docker-credential-%s: %w", helper, err)
	}
	return &agent.Login{Username: got.Username, Password: got.Secret}, nil
}
