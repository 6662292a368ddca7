package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/mailbox"
)

// atSocket calls f with a path of the folder's socket that is short however deep the folder lies: a socket's path has at
// most 107 bytes (unix(7)). The path holds until f returns.
func atSocket[T any](dir string, f func(path string) (T, error)) (T, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		var none T
		return none, fmt.Errorf("the data folder %s: %w", dir, err)
	}
	defer unix.Close(fd)
	return f("/proc/self/fd/" + strconv.Itoa(fd) + "/" + socketName())
}

// listen opens the socket, whose mode lets in its owner and root. The lock is held, so that a socket found here is a dead
// supervisor's.
func listen(dir string) (*net.UnixListener, error) {
	if err := os.Remove(filepath.Join(dir, socketName())); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove an old socket: %w", err)
	}
	listener, err := atSocket(dir, func(path string) (*net.UnixListener, error) {
		return net.ListenUnix("unix", &net.UnixAddr{Name: path})
	})
	if err != nil {
		return nil, fmt.Errorf("open the supervisor's socket: %w", err)
	}
	listener.SetUnlinkOnClose(false) // by then its short path names nothing; the next supervisor removes it
	return listener, os.Chmod(filepath.Join(dir, socketName()), 0o600)
}

func dial(ctx context.Context, dir string) (net.Conn, error) {
	return atSocket(dir, func(path string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	})
}

// client is a server that is connected to the supervisor.
type client struct {
	wire    *wire
	updates *mailbox.Mailbox[containerKey, update]
}

func (s *supervisor) accept(ctx context.Context, listener *net.UnixListener) {
	for ctx.Err() == nil {
		conn, err := listener.AcceptUnix()
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
				s.log.Error("a connection cannot be accepted", "err", err)
				time.Sleep(100 * time.Millisecond) // too many open files: some will close
				continue
			}
			return
		}
		if err := checkPeer(conn); err != nil {
			s.log.Warn("a connection was refused", "err", err)
			conn.Close()
			continue
		}
		go s.serveClient(ctx, conn)
	}
}

// checkPeer lets in the user that the supervisor runs as, and root.
func checkPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var peerErr error
	if err := raw.Control(func(fd uintptr) {
		peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if peerErr != nil {
		return fmt.Errorf("who connects: %w", peerErr)
	}
	if peer.Uid != 0 && int(peer.Uid) != os.Geteuid() {
		return fmt.Errorf("user %d may not command this supervisor", peer.Uid)
	}
	return nil
}

// serveClient answers calls until the connection ends. What a client sends that is no frame ends only its connection.
func (s *supervisor) serveClient(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(ctx, func() { conn.Close() })
	c := &client{wire: newWire(conn, maxRequest), updates: mailbox.New[containerKey, update]()}
	if err := c.wire.send(frame{Hello: &hello{Version: protocolVersion, PID: os.Getpid()}}); err != nil {
		return
	}
	s.mu.Lock()
	s.clients[c] = true
	for _, t := range s.tasks {
		for _, container := range t.containers {
			u := t.updateLocked(container)
			c.updates.Put(u.key(), u)
		}
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.clients, c)
		s.idleSince = time.Now()
		s.mu.Unlock()
	}()
	go func() {
		for {
			u, ok := c.updates.Take(ctx)
			if !ok || c.wire.send(frame{Update: &u}) != nil {
				return
			}
		}
	}()
	places := make(chan struct{}, maxCalls)
	for {
		f, err := c.wire.receive()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) && ctx.Err() == nil {
				s.log.Warn("a client's connection ends", "err", err)
			}
			return
		}
		places <- struct{}{}
		go func() {
			defer func() { <-places }()
			s.reply(ctx, c, f)
		}()
	}
}

func (s *supervisor) reply(ctx context.Context, c *client, f frame) {
	answer := frame{ID: f.ID}
	result, err := s.answer(ctx, f.Call, f.Args)
	if err != nil {
		answer.Error = toWire(err)
	} else if answer.Result, err = json.Marshal(result); err != nil {
		answer.Error = toWire(err)
	}
	if err := c.wire.send(answer); err != nil {
		s.log.Warn("a reply cannot be sent", "call", f.Call, "err", err)
	}
	if f.Call == callShutdown && answer.Error == nil {
		s.end()
	}
}

// publishLocked tells every client a container's status.
func (s *supervisor) publishLocked(t *task, c *container) {
	u := t.updateLocked(c)
	for client := range s.clients {
		client.updates.Put(u.key(), u)
	}
}

func (s *supervisor) list() []agent.Sandbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []agent.Sandbox{}
	for _, id := range slices.Sorted(maps.Keys(s.tasks)) {
		all = append(all, s.tasks[id].viewLocked())
	}
	return all
}
