package process

import (
	"context"

	"github.com/bakingclouds/rollcall/internal/agent/process/launch"
	"github.com/bakingclouds/rollcall/internal/agent/process/supervisor"
)

// Main runs the supervisor or container-init if args name that role; see [supervisor.Main]. A program calls it first
// in main.
func Main(args []string) (status int, ok bool) { return supervisor.Main(args) }

// CanMountResolver returns why containers cannot have a private /etc/resolv.conf on this machine, nil if they can.
func CanMountResolver(ctx context.Context) error { return launch.CanMount(ctx) }
