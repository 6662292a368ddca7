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
)

// The patience of connect.
const (
	connectAttempts = 5
	startupTimeout  = 15 * time.Second
)

// connect gives a connection to the folder's supervisor, started when there is none. Several servers may do this at
// once: one of their supervisors gets the lock, and all connect to that.
func connect(ctx context.Context, dir string) (*link, error) {
	var lastErr error
	for range connectAttempts {
		conn, err := dial(ctx, dir)
		if err == nil {
			l, err := newLink(conn)
			if err == nil {
				return l, nil
			}
			conn.Close()
			var version *versionError
			if errors.As(err, &version) {
				return nil, err
			}
			lastErr = err // it may have been about to end
		} else if !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("connect to the supervisor: %w", err)
		}
		if err := startSupervisor(ctx, dir); err != nil {
			if !strings.Contains(err.Error(), errRunning.Error()) { // it comes as text, from another process
				return nil, err
			}
			lastErr = err // it holds the lock: about to listen, or about to end
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	return nil, fmt.Errorf("connect to the supervisor: %w; its log is %s", lastErr, supervisorLogFile(dir))
}

// startSupervisor starts a supervisor that outlives this process, and returns when it listens.
func startSupervisor(ctx context.Context, dir string) error {
	log, err := os.OpenFile(supervisorLogFile(dir), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	defer log.Close()
	readyIn, readyOut, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	defer readyIn.Close()
	cmd := exec.Command("/proc/self/exe", superviseRole, "--dir", dir)
	cmd.Args[0] = "rollcall"
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), readyVariable + "=3"} // nothing of the server's secrets
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{readyOut}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // away from the terminal and its signals
	err = cmd.Start()
	readyOut.Close()
	if err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	go cmd.Wait() // so that it leaves no zombie should it end before this process; its log says why
	deadline := time.Now().Add(startupTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := readyIn.SetReadDeadline(deadline); err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	line, err := bufio.NewReader(readyIn).ReadString('\n')
	switch {
	case line == readyLine:
		return nil
	case line != "":
		return fmt.Errorf("the supervisor does not start: %s", strings.TrimSpace(line))
	}
	return fmt.Errorf("the supervisor does not start (%w); its log is %s", err, supervisorLogFile(dir))
}
