//go:build !linux

package process

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"github.com/bakingclouds/rollcall/internal/agent"
)

var errNotLinux = errors.New("the process runtime needs Linux; run this node with --runtime none")

// Runtime does not exist on this system.
type Runtime struct{ agent.Runtime }

// New returns an error: this system has no process runtime.
func New(context.Context, Config) (*Runtime, error) { return nil, errNotLinux }

// CanMountResolver returns an error: this system has no process runtime.
func CanMountResolver(context.Context) error { return errNotLinux }

// Main runs no role on this system.
func Main([]string) (status int, ok bool) { return 0, false }

// New returns no Runtime, so the following methods are never called.

// EngineVersion is never called.
func (*Runtime) EngineVersion() string { return "" }

// NodeAddress is never called.
func (*Runtime) NodeAddress() netip.Addr { return netip.Addr{} }

// MetadataListeners is never called.
func (*Runtime) MetadataListeners() []net.Listener { return nil }

// Notes is never called.
func (*Runtime) Notes() []string { return nil }

// Names is never called.
func (*Runtime) Names(agent.DNSServer, netip.AddrPort) agent.Names { return agent.Names{} }

// Usage is never called.
func (*Runtime) Usage([]string) map[string]agent.Usage { return nil }

// Shutdown is never called.
func (*Runtime) Shutdown(context.Context) error { return errNotLinux }
