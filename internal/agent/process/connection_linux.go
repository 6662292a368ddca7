package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent/process/protocol"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// connection is one connection to a supervisor.
type connection struct {
	conn *protocol.Conn

	mu      sync.Mutex
	lastID  uint64
	waiting map[uint64]chan protocol.Frame // calls by id; nil once the connection has ended
}

// newConnection reads the supervisor's greeting.
func newConnection(conn net.Conn) (*connection, error) {
	c := &connection{conn: protocol.NewConn(conn, protocol.MaxReply), waiting: map[uint64]chan protocol.Frame{}}
	if err := conn.SetReadDeadline(time.Now().Add(protocol.WriteTimeout)); err != nil {
		return nil, err
	}
	f, err := c.conn.Receive()
	if err != nil {
		return nil, fmt.Errorf("read the supervisor's greeting: %w", err)
	}
	if f.Hello == nil {
		return nil, errors.New("unexpected first message from the supervisor: want a greeting")
	}
	if f.Hello.Version != protocol.Version {
		return nil, &versionError{*f.Hello}
	}
	return c, conn.SetReadDeadline(time.Time{})
}

// versionError is the error for a running supervisor of an incompatible build.
type versionError struct{ protocol.Hello }

func (e *versionError) Error() string {
	return fmt.Sprintf("the running supervisor (pid %d) has version %d of the protocol, this rollcall has version %d; "+
		"run \"kill %d\" to end it: its tasks run on, and the next supervisor adopts them, without their exit codes",
		e.PID, e.Version, protocol.Version, e.PID)
}

func (c *connection) close() { c.conn.Close() }

// read handles replies and updates until the connection ends. Calls that wait then fail.
func (c *connection) read(updated func(protocol.Update)) {
	for {
		f, err := c.conn.Receive()
		if err != nil {
			break
		}
		if f.Update != nil {
			updated(*f.Update)
			continue
		}
		c.mu.Lock()
		reply := c.waiting[f.ID]
		delete(c.waiting, f.ID)
		c.mu.Unlock()
		if reply != nil {
			reply <- f
		}
	}
	c.close()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, reply := range c.waiting {
		close(reply)
	}
	c.waiting = nil
}

// call sends a call and waits for its reply.
func (c *connection) call(ctx context.Context, name string, args, result any) error {
	raw, err := json.Marshal(args)
	if err != nil {
		return err
	}
	id, reply := c.register()
	if reply == nil {
		return disconnected(name, nil)
	}
	defer func() {
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
	}()
	if err := c.conn.Send(protocol.Frame{ID: id, Call: name, Args: raw}); err != nil {
		return disconnected(name, err)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case f, ok := <-reply:
		switch {
		case !ok:
			return disconnected(name, nil)
		case f.Error != nil:
			return f.Error.Fault()
		case result == nil:
			return nil
		}
		return json.Unmarshal(f.Result, result)
	}
}

// register returns an id for a call and the channel for its reply; nil if the connection has ended.
func (c *connection) register() (uint64, <-chan protocol.Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		return 0, nil
	}
	c.lastID++
	reply := make(chan protocol.Frame, 1)
	c.waiting[c.lastID] = reply
	return c.lastID, reply
}

func disconnected(call string, err error) error {
	return &fault.Error{Kind: fault.Unavailable, What: "supervisor", Err: err,
		Msg: "the connection ended during " + call + "; the call can be repeated"}
}
