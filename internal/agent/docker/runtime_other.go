//go:build !linux

package docker

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"github.com/bakingclouds/rollcall/internal/agent"
)

var errNotLinux = errors.New("the Docker runtime requires Linux, since elsewhere the machine does not reach " +
	"the addresses of containers; run this node with --runtime none")

// Runtime does not exist on this system: [New] fails, so none of its methods is called.
type Runtime struct{ agent.Runtime }

// New returns an error.
func New(context.Context, Config) (*Runtime, error) { return nil, errNotLinux }

// Shutdown is not called.
func (*Runtime) Shutdown(context.Context) error { return errNotLinux }

// Usage is not called.
func (*Runtime) Usage([]string) map[string]agent.Usage { return nil }

// Capabilities is not called.
func (*Runtime) Capabilities() agent.Capabilities { return agent.Capabilities{} }

// EngineVersion is not called.
func (*Runtime) EngineVersion() string { return "" }

// NodeAddress is not called.
func (*Runtime) NodeAddress() netip.Addr { return netip.Addr{} }

// MetadataListeners is not called.
func (*Runtime) MetadataListeners() []net.Listener { return nil }

// Names is not called.
func (*Runtime) Names(agent.DNSServer, netip.AddrPort) agent.Names { return agent.Names{} }

// Notes is not called.
func (*Runtime) Notes() []string { return nil }
