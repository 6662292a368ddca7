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

// Runtime cannot be had on this system.
type Runtime struct{ agent.Runtime }

// New says that this system has no Docker runtime.
func New(context.Context, Config) (*Runtime, error) { return nil, errNotLinux }

// Shutdown is never reached, since New gives no Runtime.
func (*Runtime) Shutdown(context.Context) error { return errNotLinux }

// Usage is never reached, since New gives no Runtime.
func (*Runtime) Usage([]string) map[string]agent.Usage { return nil }

// Capabilities is never reached, since New gives no Runtime.
func (*Runtime) Capabilities() agent.Capabilities { return agent.Capabilities{} }

// EngineVersion is never reached, since New gives no Runtime.
func (*Runtime) EngineVersion() string { return "" }

// NodeAddress is never reached, since New gives no Runtime.
func (*Runtime) NodeAddress() netip.Addr { return netip.Addr{} }

// MetadataListeners is never reached, since New gives no Runtime.
func (*Runtime) MetadataListeners() []net.Listener { return nil }

// Names is never reached, since New gives no Runtime.
func (*Runtime) Names(agent.DNSServer, netip.AddrPort) agent.Names { return agent.Names{} }

// Notes is never reached, since New gives no Runtime.
func (*Runtime) Notes() []string { return nil }
