package process

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// protocolVersion is raised when a supervisor and a server of different builds could misunderstand each other. The
// supervisor tells its own first thing on a connection.
const protocolVersion = 1

// The bounds of a connection.
const (
	maxRequest   = 4 << 20  // bytes of one line to the supervisor
	maxReply     = 64 << 20 // bytes of one line from it: a list of every sandbox
	maxCalls     = 4096     // calls under way on one connection; further ones wait
	writeTimeout = 10 * time.Second
)

// frame is one line of JSON on the socket. The supervisor sends Hello once, an update for every container, and then
// replies (ID, and Result or Error) and further updates; the server sends requests (ID, Call, Args).
type frame struct {
	Hello  *hello          `json:"hello,omitempty"`
	ID     uint64          `json:"id,omitempty"`
	Call   string          `json:"call,omitempty"`
	Args   json.RawMessage `json:"args,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *wireError      `json:"error,omitempty"`
	Update *update         `json:"update,omitempty"`
}

type hello struct {
	Version int `json:"version"`
	PID     int `json:"pid"`
}

// update tells a container's new status, with its health check so that the server can run it.
type update struct {
	Event agent.Event        `json:"event"`
	Check *agent.HealthCheck `json:"check,omitempty"`
}

// containerKey names a container of a data folder.
type containerKey struct{ taskID, container string }

func (u *update) key() containerKey { return containerKey{u.Event.TaskID, u.Event.Status.Name} }

// The calls, with what each takes and gives.
const (
	callCreate   = "create"   // createArgs → agent.Sandbox
	callStart    = "start"    // containerArgs
	callStop     = "stop"     // stopArgs
	callRemove   = "remove"   // taskArgs
	callList     = "list"     // → []agent.Sandbox
	callExec     = "exec"     // execArgs → execResult
	callHealth   = "health"   // healthArgs
	callShutdown = "shutdown" // removes every task, then ends the supervisor
)

type createArgs struct {
	Spec        agent.TaskSpec
	Base        map[string]string // the environment that every container begins with
	HostAddress netip.Addr
}

type taskArgs struct{ TaskID string }

type containerArgs struct{ TaskID, Container string }

type stopArgs struct {
	TaskID, Container string
	Timeout           time.Duration
}

type execArgs struct {
	TaskID, Container string
	Argv              []string
	Timeout           time.Duration
}

// execResult is what a command did; Code is 128 + the signal when one ended it.
type execResult struct {
	Code     int
	TimedOut bool
	Output   string // the first maxOutput bytes of standard output and error
}

type healthArgs struct {
	TaskID, Container string
	Health            agent.Health
	Output            string
}

// wireError carries a fault.Error. Its kind goes by name, since numbers change when a kind is added.
type wireError struct {
	Kind string `json:"kind"`
	What string `json:"what,omitempty"`
	Msg  string `json:"msg"`
}

func toWire(err error) *wireError {
	var f *fault.Error
	if !errors.As(err, &f) {
		return &wireError{Kind: fault.Internal.String(), Msg: err.Error()}
	}
	msg := f.Msg
	if f.Err != nil {
		msg += ": " + f.Err.Error()
	}
	return &wireError{Kind: f.Kind.String(), What: f.What, Msg: msg}
}

func (e *wireError) fault() error {
	for kind := fault.Internal; kind <= fault.Unavailable; kind++ {
		if kind.String() == e.Kind {
			return &fault.Error{Kind: kind, What: e.What, Msg: e.Msg}
		}
	}
	return &fault.Error{Kind: fault.Internal, What: e.What, Msg: e.Msg}
}

// wire reads and writes frames. One goroutine receives; any may send.
type wire struct {
	conn  net.Conn
	lines *bufio.Scanner
	mu    sync.Mutex // keeps frames whole
}

func newWire(conn net.Conn, maxLine int) *wire {
	lines := bufio.NewScanner(conn)
	lines.Buffer(make([]byte, 0, 4096), maxLine)
	return &wire{conn: conn, lines: lines}
}

// receive gives the next frame. Any error means that the connection is of no more use.
func (w *wire) receive() (frame, error) {
	if !w.lines.Scan() {
		if err := w.lines.Err(); err != nil {
			return frame{}, err
		}
		return frame{}, net.ErrClosed
	}
	var f frame
	if err := json.Unmarshal(w.lines.Bytes(), &f); err != nil {
		return frame{}, fmt.Errorf("a line that is no frame: %w", err)
	}
	return f, nil
}

// send writes one frame, and closes the connection when the other side does not take it in time, since part of it may be
// written. A connection that the other side has closed is left to the reader, who may find a last reply in it.
func (w *wire) send(f frame) error {
	line, err := json.Marshal(f)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err = w.conn.Write(append(line, '\n'))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		w.conn.Close()
	}
	return err
}
