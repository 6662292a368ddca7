package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent/process/protocol"
)

// The limits of connect.
const (
	connectAttempts = 5
	startupTimeout  = 15 * time.Second
)

// connect connects to the data folder's supervisor, and starts one if none runs. Several servers may do this at the
// same time: one of their supervisors gets the lock, and all connect to that one.
func connect(ctx context.Context, dir string) (*connection, error) {
	var lastErr error
	for range connectAttempts {
		conn, err := protocol.Dial(ctx, dir)
		if err == nil {
			c, err := newConnection(conn)
			if err == nil {
				return c, nil
			}
			conn.Close()
			var version *versionError
			if errors.As(err, &version) {
				return nil, err
			}
			lastErr = err // the supervisor may be about to end
		} else if !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("connect to the supervisor: %w", err)
		}
		if err := startSupervisor(ctx, dir); err != nil {
			if !strings.Contains(err.Error(), protocol.ErrRunning.Error()) { // the other process sends its error as text
				return nil, err
			}
			lastErr = err // the other supervisor holds the lock: it is about to listen or to end
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	return nil, fmt.Errorf("connect to the supervisor: %w; its log is %s", lastErr, protocol.SupervisorLogFile(dir))
}

// startSupervisor starts a supervisor that outlives this process, and returns when it listens.
func startSupervisor(ctx context.Context, dir string) error {
	log, err := os.OpenFile(protocol.SupervisorLogFile(dir), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	defer log.Close()
	readyIn, readyOut, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	defer readyIn.Close()
	cmd := exec.Command("/proc/self/exe", protocol.SupervisorRole, "--dir", dir)
	cmd.Args[0] = "rollcall"
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), protocol.ReadyVariable + "=3"} // none of the server's secrets
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{readyOut}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // so that it does not get the terminal's signals
	err = cmd.Start()
	readyOut.Close()
	if err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	go func() { _ = cmd.Wait() }() // so that it leaves no zombie if it ends before this process
	deadline := time.Now().Add(startupTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := readyIn.SetReadDeadline(deadline); err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	line, err := bufio.NewReader(readyIn).ReadString('\n')
	switch {
	case line == protocol.ReadyLine:
		return nil
	case line != "":
		return fmt.Errorf("start the supervisor: %s", strings.TrimSpace(line))
	}
	return fmt.Errorf("start the supervisor: %w; its log is %s", err, protocol.SupervisorLogFile(dir))
}
