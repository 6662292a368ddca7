package protocol

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// atSocket calls f with a path of the data folder's socket that is short however deep the folder is: a socket's path
// has at most 107 bytes (unix(7)). The path is valid until f returns.
func atSocket[T any](dir string, f func(path string) (T, error)) (T, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		var zero T
		return zero, fmt.Errorf("open the data folder %s: %w", dir, err)
	}
	defer unix.Close(fd)
	return f("/proc/self/fd/" + strconv.Itoa(fd) + "/" + SocketName)
}

// Listen opens the socket of a data folder, with a mode that admits its owner and root. It removes a socket that a dead
// supervisor left, so the caller must hold the folder's lock.
func Listen(dir string) (*net.UnixListener, error) {
	if err := os.Remove(filepath.Join(dir, SocketName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the socket of an earlier supervisor: %w", err)
	}
	listener, err := atSocket(dir, func(path string) (*net.UnixListener, error) {
		return net.ListenUnix("unix", &net.UnixAddr{Name: path})
	})
	if err != nil {
		return nil, fmt.Errorf("open the supervisor's socket: %w", err)
	}
	listener.SetUnlinkOnClose(false) // the short path is invalid by then; the next supervisor removes the socket
	return listener, os.Chmod(filepath.Join(dir, SocketName), 0o600)
}

// Dial connects to the supervisor of a data folder.
func Dial(ctx context.Context, dir string) (net.Conn, error) {
	return atSocket(dir, func(path string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	})
}
