package app

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/docker"
	"github.com/bakingclouds/rollcall/internal/agent/metadata"
	"github.com/bakingclouds/rollcall/internal/agent/process"
	"github.com/bakingclouds/rollcall/internal/api/awsapi"
)

// alias is the name under which tasks reach the API where they have a hosts file of their own. Some SDKs put "data-"
// before the host of DiscoverInstances, so that name is there too (docs/clients.md).
const alias = "rollcall.internal"

// openEndpoint opens what tasks find of ECS from the inside, and tells the agent of it.
func (a *App) openEndpoint(ctx context.Context, cfg *agent.Config) (*metadata.Endpoint, error) {
	keys, err := a.accessKeys()
	if err != nil {
		return nil, err
	}
	api, err := netip.ParseAddrPort(reachable(a.api.Addr()))
	if err != nil {
		return nil, fmt.Errorf("where tasks reach the API: %w", err)
	}
	ep := metadata.Config{
		DB: a.db, Dir: a.cfg.DataDir, Zone: zone, Log: a.log, Usage: a.runtime.Usage,
		Issue: func(expires time.Time) metadata.Keys {
			s := keys.Issue(awsapi.Workload, expires)
			return metadata.Keys{AccessKeyID: s.AccessKeyID, Secret: s.Secret, SessionToken: s.SessionToken, Expires: s.Expires}
		},
	}
	if rt, ok := a.runtime.(*docker.Runtime); ok {
		ep.Links = a.openLinks(rt)
		api = a.apiForContainers(api)
	}
	ep.API = "http://" + api.String()
	if a.cfg.Runtime == RuntimeDocker || process.CanMountResolver(ctx) == nil {
		cfg.Hosts = map[string]netip.Addr{alias: api.Addr(), "data-" + alias: api.Addr()}
		ep.Alias = fmt.Sprintf("http://%s:%d", alias, api.Port())
	}
	endpoint, err := metadata.Open(ep)
	if err != nil {
		return nil, err
	}
	a.cleanup(endpoint.Close)
	cfg.Environment = endpoint.Environment
	cfg.Logs = a.logs
	cfg.Vault = agent.Vault{Secrets: filepath.Join(a.cfg.DataDir, "secrets"), Files: filepath.Join(a.cfg.DataDir, "files")}
	return endpoint, nil
}

// accessKeys knows the server's access keys: the administrator's, the read-only one, and temporary ones.
func (a *App) accessKeys() (*awsapi.Keys, error) {
	readOnly, err := awsapi.ReadOnlyOf(a.keys)
	if err != nil {
		return nil, err
	}
	return awsapi.NewKeys(a.keys, readOnly)
}
