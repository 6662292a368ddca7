package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bakingclouds/rollcall/internal/agent/mailbox"
	"github.com/bakingclouds/rollcall/internal/agent/process/protocol"
)

// maxCalls is the number of calls that one connection may have in progress; further ones wait.
const maxCalls = 4096

// client is a server that is connected to the supervisor.
type client struct {
	conn    *protocol.Conn
	updates *mailbox.Mailbox[protocol.ContainerKey, protocol.Update]
}

func (s *supervisor) accept(ctx context.Context, listener *net.UnixListener) {
	for ctx.Err() == nil {
		conn, err := listener.AcceptUnix()
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
				s.log.Error("cannot accept a connection", "err", err)
				time.Sleep(100 * time.Millisecond) // too many open files: some will close
				continue
			}
			return
		}
		if err := checkPeer(conn); err != nil {
			s.log.Warn("refused a connection", "err", err)
			conn.Close()
			continue
		}
		go s.serveClient(ctx, conn)
	}
}

// checkPeer returns an error unless the client is the user that the supervisor runs as, or root.
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
		return fmt.Errorf("read the user of the connection: %w", peerErr)
	}
	if peer.Uid != 0 && int(peer.Uid) != os.Geteuid() {
		return fmt.Errorf("user %d may not use this supervisor", peer.Uid)
	}
	return nil
}

// serveClient answers calls until the connection ends. A line that is not a frame ends only the connection that it came
// from.
func (s *supervisor) serveClient(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(ctx, func() { conn.Close() })
	c := &client{
		conn:    protocol.NewConn(conn, protocol.MaxRequest),
		updates: mailbox.New[protocol.ContainerKey, protocol.Update](),
	}
	hello := &protocol.Hello{Version: protocol.Version, PID: os.Getpid()}
	if err := c.conn.Send(protocol.Frame{Hello: hello}); err != nil {
		return
	}
	s.addClient(c)
	defer s.removeClient(c)
	go c.sendUpdates(ctx)
	inProgress := make(chan struct{}, maxCalls)
	for {
		f, err := c.conn.Receive()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) && ctx.Err() == nil {
				s.log.Warn("a client's connection ended", "err", err)
			}
			return
		}
		inProgress <- struct{}{}
		go func() {
			defer func() { <-inProgress }()
			s.reply(ctx, c, f)
		}()
	}
}

// addClient adds a client, with an update for every container.
func (s *supervisor) addClient(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients[c] = true
	for _, t := range s.tasks {
		for _, container := range t.containers {
			u := t.updateLocked(container)
			c.updates.Put(u.Key(), u)
		}
	}
}

func (s *supervisor) removeClient(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, c)
	s.idleSince = time.Now()
}

func (c *client) sendUpdates(ctx context.Context) {
	for {
		u, ok := c.updates.Take(ctx)
		if !ok || c.conn.Send(protocol.Frame{Update: &u}) != nil {
			return
		}
	}
}

func (s *supervisor) reply(ctx context.Context, c *client, f protocol.Frame) {
	answer := protocol.Frame{ID: f.ID}
	result, err := s.handle(ctx, f.Call, f.Args)
	if err != nil {
		answer.Error = protocol.ErrorOf(err)
	} else if answer.Result, err = json.Marshal(result); err != nil {
		answer.Error = protocol.ErrorOf(err)
	}
	if err := c.conn.Send(answer); err != nil {
		s.log.Warn("cannot send a reply", "call", f.Call, "err", err)
	}
	if f.Call == protocol.CallShutdown && answer.Error == nil {
		s.end()
	}
}

// publishLocked sends a container's status to every client.
func (s *supervisor) publishLocked(t *task, c *container) {
	u := t.updateLocked(c)
	for client := range s.clients {
		client.updates.Put(u.Key(), u)
	}
}
