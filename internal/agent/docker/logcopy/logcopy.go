// Package logcopy copies what containers print from the engine's logs to Rollcall's container logs.
//
//	engine ── entries (entry.go) ── copier (logcopy.go) ── log (log.go) ── containerlog.Writer
//
// Each entry is copied exactly once as long as the engine still has it, also if the server is killed at any point: the
// log's progress is stored after each write, and what was written after the stored progress is removed when the log is
// opened again. A container that prints faster than its log is copied is not slowed down; the engine then drops the
// oldest entries.
//
// Start with [Copiers]. The package does not know tasks beyond their ids, and does not decide when a container has
// ended: the runtime calls [Copiers.End].
package logcopy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
	"github.com/bakingclouds/rollcall/internal/containerlog"
)

// Copiers copy the logs of all containers of a data folder. Create them with [New].
type Copiers struct {
	engine *client.Client
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	all    sync.WaitGroup

	mu    sync.Mutex
	byKey map[containerKey]*copier
}

type containerKey struct{ taskID, container string }

// copier copies one container's log.
type copier struct {
	engineID, folder string
	tty              bool
	ctx              context.Context
	cancel           context.CancelFunc
	restarted        chan struct{} // receives a token when the container was started again
	final            chan struct{} // closed when the container prints no more
	closeFinal       func()
	done             chan struct{} // closed when everything is copied
}

// New returns Copiers that copy nothing yet.
func New(engine *client.Client, log *slog.Logger) *Copiers {
	c := &Copiers{engine: engine, log: log, byKey: map[containerKey]*copier{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Start begins to copy a container's log into a folder, after what an earlier copier has copied there. If the log is
// being copied already, the copier checks whether the container was started again. Start does nothing if the log in the
// folder has ended.
func (c *Copiers) Start(taskID, name, engineID, folder string, tty bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := containerKey{taskID, name}
	if running := c.byKey[key]; running != nil {
		select {
		case running.restarted <- struct{}{}:
		default:
		}
		return
	}
	if containerlog.Ended(folder) || c.ctx.Err() != nil {
		return
	}
	final := make(chan struct{})
	one := &copier{
		engineID: engineID, folder: folder, tty: tty, restarted: make(chan struct{}, 1),
		final: final, closeFinal: sync.OnceFunc(func() { close(final) }), done: make(chan struct{}),
	}
	one.ctx, one.cancel = context.WithCancel(c.ctx)
	c.byKey[key] = one
	c.all.Go(func() {
		defer one.cancel()
		defer close(one.done)
		if err := c.copyLog(one); err != nil {
			c.log.Error("container log is incomplete", "task", taskID, "container", name, "err", err)
		}
	})
}

// End declares that a container prints no more. Its log ends once everything is copied.
func (c *Copiers) End(taskID, name string) {
	if one := c.find(taskID, name); one != nil {
		one.closeFinal()
	}
}

func (c *Copiers) find(taskID, name string) *copier {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byKey[containerKey{taskID, name}]
}

// Wait declares that a container prints no more and waits until its log is copied. After the timeout it ends the log as
// far as it was copied.
func (c *Copiers) Wait(taskID, name string, timeout time.Duration) {
	one := c.find(taskID, name)
	if one == nil {
		return
	}
	one.closeFinal()
	select {
	case <-one.done:
	case <-time.After(timeout):
		one.cancel()
		<-one.done
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byKey, containerKey{taskID, name})
}

// Close stops copying. No log ends by this; later Copiers continue them.
func (c *Copiers) Close() {
	c.cancel()
	c.all.Wait()
}

// unreadable is the only line in the log of a container whose log driver cannot be read.
const unreadable = "rollcall: the container's log driver does not support reading; " +
	"read its output where the driver sends it\n"

// The waits between two attempts to read a log.
const (
	minRetryWait = 10 * time.Millisecond
	maxRetryWait = 2 * time.Second
)

var errLogTimeout = errors.New("docker: the engine did not return the end of the log in time")

// copyLog copies a container's log until the container prints no more.
func (c *Copiers) copyLog(one *copier) error {
	to, err := openLog(one.folder)
	if err != nil {
		return err
	}
	warned := false
	for wait := minRetryWait; ; wait = min(2*wait, maxRetryWait) {
		last := isClosed(one.final) // read before the copy begins, so that nothing is printed after it
		err := c.copyUntilEnd(one, to)
		gone := errdefs.IsNotFound(err) // the container was removed
		switch {
		case c.ctx.Err() != nil:
			return to.close(false)
		case one.ctx.Err() != nil: // Wait has timed out
			return errors.Join(errLogTimeout, to.close(true))
		case errdefs.IsNotImplemented(err):
			return c.closeUnreadable(one, to)
		case last && (err == nil || gone):
			return to.close(true)
		case err == nil:
			one.awaitMore()
			wait = minRetryWait
			continue
		case !warned && !gone && !engineapi.Unreachable(err):
			warned = true
			c.log.Warn("cannot read container log; retrying", "container", one.engineID, "err", err)
		}
		select {
		case <-time.After(wait):
		case <-one.ctx.Done():
		}
	}
}

// awaitMore waits until a container that has ended is started again, or prints no more.
func (c *copier) awaitMore() {
	select {
	case <-c.final:
	case <-c.restarted:
	case <-c.ctx.Done():
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// closeUnreadable writes the line that explains the empty log and waits for the end of the container.
func (c *Copiers) closeUnreadable(one *copier, to *log) error {
	if err := to.writeIfEmpty(unreadable); err != nil {
		return errors.Join(err, to.close(false))
	}
	select {
	case <-one.final:
		return to.close(true)
	case <-c.ctx.Done():
		return to.close(false)
	case <-one.ctx.Done():
		return to.close(true)
	}
}

// copyUntilEnd copies the entries that the engine has, and those that follow until the container ends.
func (c *Copiers) copyUntilEnd(one *copier, to *log) (err error) {
	ctx, cancel := context.WithCancelCause(one.ctx)
	defer cancel(nil)
	options := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: true}
	if since := to.resume(cancel); !since.IsZero() {
		options.Since = since.Format(time.RFC3339Nano)
	}
	defer func() {
		if writeErr := to.flush(); writeErr != nil {
			err = writeErr
		}
	}()
	entries, err := c.engine.ContainerLogs(ctx, one.engineID, options)
	if err != nil {
		return err
	}
	defer entries.Close()
	r := bufio.NewReaderSize(entries, 64<<10)
	for {
		stream, entry, err := readEntry(r, one.tty)
		if len(entry) > 0 {
			if err := to.append(stream, entry); err != nil {
				return err
			}
		}
		if err == io.EOF { // within an entry it is io.ErrUnexpectedEOF: the engine will send the entry again
			return nil
		}
		if err != nil {
			return err
		}
	}
}
