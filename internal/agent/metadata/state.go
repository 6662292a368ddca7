package metadata

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"path/filepath"

	"github.com/bakingclouds/rollcall/internal/atomicfile"
)

// stateFile is the file in the data folder with what the environment of running tasks contains.
const stateFile = "endpoint.json"

// state is the content of stateFile.
type state struct {
	Port int
	Key  secret
}

// The ports that a new endpoint tries. They are below those that the kernel assigns to clients (from 32768 on), so that
// no connection of another program takes the port while the server restarts.
const (
	firstPort = 20000
	lastPort  = 32767
	tries     = 100
)

// open reads the state and opens its port, or makes both.
func open(dir string, log *slog.Logger) (state, net.Listener, error) {
	file := filepath.Join(dir, stateFile)
	s, err := readState(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, nil, err
	}
	if err == nil {
		l, err := listen(s.Port)
		if err == nil {
			return s, l, nil
		}
		log.Error("the metadata endpoint moves to another port, where running tasks do not find it",
			"port", s.Port, "err", err)
	}
	// The key changes with the port: running tasks send names made with the old key to the process that now has the old
	// port.
	s.Key = make(secret, 32)
	rand.Read(s.Key) // never fails
	l, err := listenOnFreePort()
	if err != nil {
		return s, nil, err
	}
	s.Port = l.Addr().(*net.TCPAddr).Port
	if err := atomicfile.Write(file, s, true); err != nil {
		l.Close()
		return s, nil, err
	}
	return s, l, nil
}

func listen(port int) (net.Listener, error) {
	return net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
}

// listenOnFreePort opens a random free port, so that two servers on one machine seldom try the same.
func listenOnFreePort() (net.Listener, error) {
	for range tries {
		if l, err := listen(firstPort + mathrand.IntN(lastPort-firstPort+1)); err == nil {
			return l, nil
		}
	}
	return listen(0)
}

func readState(file string) (state, error) {
	var s state
	err := atomicfile.Read(file, &s)
	var unreadable *fs.PathError
	if errors.As(err, &unreadable) {
		return s, err
	}
	if err != nil || s.Port <= 0 || len(s.Key) < 32 {
		return s, fmt.Errorf("%s is damaged; restore it, or remove it, after which running tasks find neither metadata "+
			"nor credentials", file)
	}
	return s, nil
}
