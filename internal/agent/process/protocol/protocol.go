// Package protocol defines the messages between the process runtime, which is part of the server, and the supervisor,
// and the files in the data folder through which they find each other.
//
// The two sides exchange JSON, one [Frame] per line, over a Unix socket ([Dial], [Listen]) that only the supervisor's
// user and root can open. Both sides usually are the same build, but a supervisor outlives its server: a newer server
// finds it running. So the names and JSON of everything here stay the same for as long as [Version] does.
//
// The package does not know how either side behaves. The calls are the constants Call…, each with its arguments and
// result.
package protocol

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// Version is raised when a supervisor and a server of different builds could misunderstand each other. The supervisor
// sends its version before anything else.
const Version = 1

// SupervisorRole is the first argument of this binary when it runs as a supervisor.
const SupervisorRole = "supervise"

// ReadyVariable names the file descriptor on which a new supervisor writes [ReadyLine], or why it cannot start.
const ReadyVariable = "ROLLCALL_SUPERVISOR_READY_FD"

// ReadyLine is what a supervisor writes once it listens.
const ReadyLine = "ready\n"

// ErrRunning is the error of a supervisor whose data folder has one already.
var ErrRunning = errors.New("another supervisor is already running")

// SocketName is the name of the supervisor's socket in the data folder.
const SocketName = "supervisor.sock"

// LockFile returns the path of the file that the supervisor locks. It contains the supervisor's pid.
func LockFile(dir string) string { return filepath.Join(dir, "supervisor.lock") }

// SupervisorLogFile returns the path of the supervisor's own log.
func SupervisorLogFile(dir string) string { return filepath.Join(dir, "supervisor.log") }

// TasksFolder returns the path of the folder that has a folder for each task.
func TasksFolder(dir string) string { return filepath.Join(dir, "tasks") }

// The longest lines, in bytes.
const (
	MaxRequest = 4 << 20  // to the supervisor
	MaxReply   = 64 << 20 // from the supervisor: a list of every sandbox
)

// WriteTimeout is the longest time that a side waits for the other to accept a frame.
const WriteTimeout = 10 * time.Second

// Frame is one line of JSON. The supervisor sends Hello once, an update for every container, and then replies (ID, and
// Result or Error) and further updates. The server sends requests (ID, Call, Args).
type Frame struct {
	Hello  *Hello          `json:"hello,omitempty"`
	ID     uint64          `json:"id,omitempty"`
	Call   string          `json:"call,omitempty"`
	Args   json.RawMessage `json:"args,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *Error          `json:"error,omitempty"`
	Update *Update         `json:"update,omitempty"`
}

// Hello identifies the supervisor.
type Hello struct {
	Version int `json:"version"`
	PID     int `json:"pid"`
}

// Update is a container's new status, with the health check that the server runs.
type Update struct {
	Event agent.Event        `json:"event"`
	Check *agent.HealthCheck `json:"check,omitempty"`
}

// ContainerKey names a container of a data folder.
type ContainerKey struct{ TaskID, Container string }

// Key returns the container that the update is about.
func (u *Update) Key() ContainerKey { return ContainerKey{u.Event.TaskID, u.Event.Status.Name} }

// The calls, with their arguments and results.
const (
	CallCreate   = "create"   // CreateArgs → agent.Sandbox
	CallStart    = "start"    // ContainerArgs
	CallStop     = "stop"     // StopArgs
	CallRemove   = "remove"   // TaskArgs
	CallList     = "list"     // → []agent.Sandbox
	CallExec     = "exec"     // ExecArgs → ExecResult
	CallHealth   = "health"   // HealthArgs
	CallShutdown = "shutdown" // removes every task, then ends the supervisor
)

// CreateArgs are the arguments of [CallCreate].
type CreateArgs struct {
	Spec        agent.TaskSpec
	Base        map[string]string // the environment that every container starts from
	HostAddress netip.Addr
}

// TaskArgs are the arguments of calls about a task.
type TaskArgs struct{ TaskID string }

// ContainerArgs are the arguments of calls about a container.
type ContainerArgs struct{ TaskID, Container string }

// StopArgs are the arguments of [CallStop].
type StopArgs struct {
	TaskID, Container string
	Timeout           time.Duration
}

// ExecArgs are the arguments of [CallExec].
type ExecArgs struct {
	TaskID, Container string
	Argv              []string
	Timeout           time.Duration
}

// ExecResult is the result of a command.
type ExecResult struct {
	Code     int // its exit code, or 128 + the signal that ended it
	TimedOut bool
	Output   string // the beginning of its standard output and error
}

// HealthArgs are the arguments of [CallHealth].
type HealthArgs struct {
	TaskID, Container string
	Health            agent.Health
	Output            string
}

// Error is the form in which a [fault.Error] is sent. Its kind is sent by name, since the numbers change when a kind is
// added.
type Error struct {
	Kind string `json:"kind"`
	What string `json:"what,omitempty"`
	Msg  string `json:"msg"`
}

// ErrorOf returns the form of err that is sent.
func ErrorOf(err error) *Error {
	var f *fault.Error
	if !errors.As(err, &f) {
		return &Error{Kind: fault.Internal.String(), Msg: err.Error()}
	}
	msg := f.Msg
	if f.Err != nil {
		msg += ": " + f.Err.Error()
	}
	return &Error{Kind: f.Kind.String(), What: f.What, Msg: msg}
}

// Fault returns the [fault.Error] that was sent; a kind that this build does not know becomes [fault.Internal].
func (e *Error) Fault() error {
	for kind := fault.Internal; kind <= fault.Unavailable; kind++ {
		if kind.String() == e.Kind {
			return &fault.Error{Kind: kind, What: e.What, Msg: e.Msg}
		}
	}
	return &fault.Error{Kind: fault.Internal, What: e.What, Msg: e.Msg}
}

// Conn reads and writes frames. One goroutine receives; any may send.
type Conn struct {
	net.Conn
	lines *bufio.Scanner
	mu    sync.Mutex // keeps frames whole
}

// NewConn returns a Conn that accepts lines of at most maxLine bytes.
func NewConn(conn net.Conn, maxLine int) *Conn {
	lines := bufio.NewScanner(conn)
	lines.Buffer(make([]byte, 0, 4096), maxLine)
	return &Conn{Conn: conn, lines: lines}
}

// Receive returns the next frame. After an error the connection cannot be used any more.
func (c *Conn) Receive() (Frame, error) {
	if !c.lines.Scan() {
		if err := c.lines.Err(); err != nil {
			return Frame{}, err
		}
		return Frame{}, net.ErrClosed
	}
	var f Frame
	if err := json.Unmarshal(c.lines.Bytes(), &f); err != nil {
		return Frame{}, fmt.Errorf("parse a frame: %w", err)
	}
	return f, nil
}

// Send writes one frame. It closes the connection if the other side does not accept the frame in time, since part of it
// may be written. It does not close a connection that the other side has closed, since a last reply may still be
// unread.
func (c *Conn) Send(f Frame) error {
	line, err := json.Marshal(f)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.SetWriteDeadline(time.Now().Add(WriteTimeout)); err != nil {
		return err
	}
	_, err = c.Write(append(line, '\n'))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.Close()
	}
	return err
}
