package harness

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent/process"
)

// CheckTaskResolver returns an error if tasks cannot have a resolver on this machine. It needs port 53 on loopback
// addresses, and root or user namespaces for a private /etc/resolv.conf.
func CheckTaskResolver(t *testing.T) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, err := net.ListenPacket("udp4", "127.127.255.54:53")
	if err != nil {
		return err
	}
	conn.Close()
	return process.CanMountResolver(ctx)
}
