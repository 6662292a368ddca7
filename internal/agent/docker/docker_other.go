//go:build !linux

package docker

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"github.com/bakingclouds/rollcall/internal/agent"
)

var errNotLinux = errors.New("the Docker runtime needs Linux: elsewhere containers have no addresses that this machine reaches; run this node with --runtime none")

// Claim says that this system has no Docker runtime.
func Claim(string, []Network, []Taken) (Network, error) { return Network{}, errNotLinux }

// Runtime cannot be had on this system.
type Runtime struct{ agent.Runtime }

// New says that this system has no Docker runtime.
func New(context.Context, Config) (*Runtime, error) { return nil, errNotLinux }

// Shutdown is never reached, since New gives no Runtime.
func (*Runtime) Shutdown(context.Context) error { return errNotLinux }

// Usage is never reached, since New gives no Runtime.
func (*Runtime) Usage([]string) map[string]agent.Usage { return nil }

// Version is never reached, since New gives no Runtime.
func (*Runtime) Version() string { return "" }

// Notes is never reached, since New gives no Runtime.
func (*Runtime) Notes() []string { return nil }

// TestResolver is never reached, since New gives no Runtime.
func (*Runtime) TestResolver(context.Context, Network) error { return errNotLinux }

// LinkLocal is where ECS's tasks find their credentials and metadata.
var LinkLocal = netip.MustParseAddr("169.254.170.2")

// Link is never reached, since New gives no Runtime.
func (*Runtime) Link(Network) (net.Listener, error) { return nil, errNotLinux }
