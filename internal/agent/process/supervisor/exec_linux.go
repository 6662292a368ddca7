package supervisor

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent/process/launch"
	"github.com/bakingclouds/rollcall/internal/agent/process/protocol"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// maxOutput is the number of bytes that are kept of a health check's output, as in Docker.
const maxOutput = 4096

// exec runs a command in a container, with the container's environment, user, folder and resolver. At the timeout or
// when ctx is done, it kills the command and all its processes.
func (s *supervisor) exec(
	ctx context.Context, t *task, c *container, argv []string, timeout time.Duration,
) (protocol.ExecResult, error) {
	s.mu.Lock()
	process, running := c.record.Process, c.record.Status.Running()
	s.execs++
	tag := fmt.Sprintf("%s.exec%d", c.tag, s.execs)
	s.mu.Unlock()
	if !running {
		return protocol.ExecResult{}, fault.New(fault.NotFound, "container",
			"%s of task %s is not running", c.spec.Name, t.sandbox.Spec.ID)
	}
	account, home, err := launch.FindAccount(c.spec.User)
	if err != nil {
		return protocol.ExecResult{}, err
	}
	outputIn, outputOut, err := os.Pipe()
	if err != nil {
		return protocol.ExecResult{}, err
	}
	defer outputIn.Close()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	leader, end, err := launch.Inside(s.reaper.start, process, t.order(c, argv, tag, account, home), outputOut)
	outputOut.Close()
	if err != nil {
		if end != nil {
			<-end
		}
		// A shell that does not find a program exits with this code.
		return protocol.ExecResult{Code: 127, Output: err.Error()}, nil
	}
	output := collect(outputIn)
	res := protocol.ExecResult{}
	select {
	case status := <-end:
		res.Code = launch.ExitCode(status)
		_ = syscall.Kill(-leader.PID, syscall.SIGKILL) // its background processes
	case <-ctx.Done():
		_ = syscall.Kill(-leader.PID, syscall.SIGKILL)
		s.killAll(tag, leader)
		res.Code, res.TimedOut = launch.ExitCode(<-end), true
	}
	res.Output = output.finish()
	return res, nil
}

// collector keeps the beginning of a command's output, and reads on so that the command never blocks on the pipe.
type collector struct {
	pipe *os.File
	kept strings.Builder
	done chan struct{}
}

func collect(pipe *os.File) *collector {
	c := &collector{pipe: pipe, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		_, err := io.CopyN(&c.kept, pipe, maxOutput)
		if err == nil {
			_, _ = io.Copy(io.Discard, pipe) // until the pipe is closed, or the deadline of finish
		}
	}()
	return c
}

// finish returns the kept output. It waits only briefly for a process that outlives its command and holds the pipe
// open.
func (c *collector) finish() string {
	_ = c.pipe.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // pipes support deadlines
	<-c.done
	return strings.ToValidUTF8(strings.TrimSpace(c.kept.String()), "\uFFFD")
}
