//go:build !linux

package process

import (
	"context"
	"errors"

	"github.com/bakingclouds/rollcall/internal/agent"
)

var errNotLinux = errors.New("the process runtime needs Linux; run this node with --runtime none")

// Runtime cannot be had on this system.
type Runtime struct{ agent.Runtime }

// New says that this system has no process runtime.
func New(context.Context, Config) (*Runtime, error) { return nil, errNotLinux }

// Shutdown is never reached, since New gives no Runtime.
func (*Runtime) Shutdown(context.Context) error { return errNotLinux }

// CanMountResolver says that this system cannot.
func CanMountResolver(context.Context) error { return errNotLinux }

// Supervise says that this system has no process runtime.
func Supervise(string) error { return errNotLinux }

// Main plays no role on this system.
func Main([]string) (status int, ok bool) { return 0, false }

// Usage measures nothing here.
func (*Runtime) Usage([]string) map[string]agent.Usage { return nil }
