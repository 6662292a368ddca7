package app

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/bakingclouds/rollcall/internal/portowner"
)

// listenError explains why an address cannot be opened.
func listenError(flag, addr string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		at, _ := netip.ParseAddrPort(addr) // for a host name, the owner of the port on any address
		return fmt.Errorf("%s is in use by %s; choose another address, such as %s 127.0.0.1:0 for any free port: %w",
			addr, portowner.Of(at.Addr(), at.Port()), flag, err)
	}
	return fmt.Errorf("listen on %s (%s): %w", addr, flag, err)
}
