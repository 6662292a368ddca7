package app

import (
	"errors"
	"fmt"
	"syscall"
)

// portInUse explains why an address cannot be listened on.
func portInUse(flag, addr string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is taken by another process; choose another address, such as %s 127.0.0.1:0 for any free port: %w", addr, flag, err)
	}
	return fmt.Errorf("listen on %s (%s): %w", addr, flag, err)
}
