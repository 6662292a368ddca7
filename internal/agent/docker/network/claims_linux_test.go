package network

import (
	"net/netip"
	"os"
	"testing"
)

// TestClaims lets two servers claim slices of one VPC. Each gets its own, and can claim it again.
func TestClaims(t *testing.T) {
	// No other test run of this machine claims the same addresses at the same time.
	pid := os.Getpid()
	vpc := netip.PrefixFrom(netip.AddrFrom4([4]byte{240 + byte(pid>>16)&7, byte(pid >> 8), byte(pid), 0}), 24)
	slices := Slices("", vpc, netip.Prefix{})
	var a, b Claims
	defer b.Close()
	claim := func(c *Claims, what string, want netip.Prefix) {
		t.Helper()
		n, err := c.Claim(slices, nil)
		if err != nil || n.Prefix != want {
			t.Errorf("%s: %v, %v; want %v", what, n.Prefix, err, want)
		}
	}
	claim(&a, "first server", slices[0].Prefix)
	claim(&b, "second server", slices[1].Prefix)
	claim(&a, "first server again", slices[0].Prefix)
	a.Close()
	claim(&b, "second server, after the first has closed its claims", slices[0].Prefix)
}
