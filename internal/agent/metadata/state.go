package metadata

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
)

// stateFile keeps, in the data folder, what tasks have been told and cannot be told anew.
const stateFile = "endpoint.json"

// state is that file.
type state struct {
	Port int
	Key  secret
}

// The ports that a new endpoint tries: below those that the kernel hands out to clients (32768 on), so that no
// connection of another program takes the port while the server restarts.
const (
	firstPort = 20000
	lastPort  = 32767
	tries     = 100
)

// open reads the state and takes its port, or makes both.
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
		log.Error("the endpoint of tasks moves: tasks that run already do not find it any more", "port", s.Port, "err", err)
	}
	// Also when it moves: whoever has the old port now is asked by the tasks for what the old key opens.
	s.Key = make(secret, 32)
	rand.Read(s.Key) // never fails
	l, err := listenSomewhere()
	if err != nil {
		return s, nil, err
	}
	s.Port = l.Addr().(*net.TCPAddr).Port
	if err := writeState(file, s); err != nil {
		l.Close()
		return s, nil, err
	}
	return s, l, nil
}

func listen(port int) (net.Listener, error) {
	return net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
}

// listenSomewhere takes a free port, at random so that two servers of one machine seldom try the same.
func listenSomewhere() (net.Listener, error) {
	for range tries {
		if l, err := listen(firstPort + mathrand.IntN(lastPort-firstPort+1)); err == nil {
			return l, nil
		}
	}
	return listen(0)
}

func readState(file string) (state, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return state{}, err
	}
	var s state
	if err := json.Unmarshal(text, &s); err != nil || s.Port <= 0 || len(s.Key) < 32 {
		return s, fmt.Errorf("%s is damaged; without it, tasks that run already find neither metadata nor credentials: "+
			"bring it back, or remove it to begin anew", file)
	}
	return s, nil
}

// writeState writes the file whole, and so that it is there after a crash.
func writeState(file string, s state) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), stateFile+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(text)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}
