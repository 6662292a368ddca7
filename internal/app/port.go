package app

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/bakingclouds/rollcall/internal/portowner"
)

// portInUse explains why an address cannot be listened on.
func portInUse(flag, addr string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		at, _ := netip.ParseAddrPort(addr) // of a host name, any address
		return fmt.Errorf("%s is taken by %s; choose another address, such as %s 127.0.0.1:0 for any free port: %w",
			addr, portowner.Of(at.Addr(), at.Port()), flag, err)
	}
	return fmt.Errorf("listen on %s (%s): %w", addr, flag, err)
}
