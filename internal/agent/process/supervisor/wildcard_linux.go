package supervisor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/addrlease"
	"github.com/bakingclouds/rollcall/internal/agent/process/procfs"
)

// The intervals of scans: short after a container has started, then doubling.
const (
	firstScan   = 50 * time.Millisecond
	maxScanWait = 5 * time.Second
)

// wildcardWatch finds awsvpc containers that listen on every address instead of the task's address.
type wildcardWatch struct {
	ephemeral addrlease.PortRange
	started   chan struct{} // holds a token if a container has started since the last scan

	mu sync.Mutex // one scan at a time
	// foreign counts, for the inode of each wildcard socket, the scans that found no container with it. One scan is not
	// enough to ignore it: its process may just have forked and ended.
	foreign map[uint64]int
}

// scansToIgnore is the number of scans without a container after which a socket is ignored permanently.
const scansToIgnore = 3

func newWildcardWatch(ephemeral addrlease.PortRange) *wildcardWatch {
	return &wildcardWatch{ephemeral: ephemeral, started: make(chan struct{}, 1), foreign: map[uint64]int{}}
}

// scanSoon requests a scan.
func (w *wildcardWatch) scanSoon() {
	select {
	case w.started <- struct{}{}:
	default:
	}
}

// watchWildcards scans until ctx is done.
func (s *supervisor) watchWildcards(ctx context.Context) {
	wait := maxScanWait
	next := time.NewTimer(wait)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wildcards.started:
			if wait > firstScan { // otherwise the next scan is soon enough
				wait = firstScan
				next.Reset(wait)
			}
		case <-next.C:
			s.killWildcards(regularScan)
			wait = min(2*wait, maxScanWait)
			next.Reset(wait)
		}
	}
}

// candidate is a container of an awsvpc task that has a process.
type candidate struct {
	task      *task
	container *container
	process   procfs.Identity
}

func (s *supervisor) candidates() []candidate {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []candidate
	for _, t := range s.tasks {
		if t.sandbox.Spec.NetworkMode != agent.NetworkAWSVPC {
			continue
		}
		for _, c := range t.containers {
			if c.record.Process.PID != 0 && !c.record.Status.Ended() {
				all = append(all, candidate{t, c, c.record.Process})
			}
		}
	}
	return all
}

// The kinds of scans.
const (
	regularScan = true
	extraScan   = false // not counted in foreign, since several may follow each other immediately
)

// killWildcards scans once, and kills the containers that listen on every address. It does not look up sockets that are
// known to belong to no container, so that a scan that finds nothing new reads four files and no process.
func (s *supervisor) killWildcards(regular bool) {
	s.wildcards.mu.Lock()
	defer s.wildcards.mu.Unlock()
	suspects := s.suspects()
	// Read after the sockets: if a socket is a container's, the container had a process by then.
	candidates := s.candidates()
	if len(suspects) == 0 || len(candidates) == 0 {
		return
	}
	processes, err := procfs.Processes()
	if err != nil {
		s.log.Error("cannot look for containers that listen on every address", "err", err)
		return
	}
	for _, p := range processes {
		i := slices.IndexFunc(candidates, func(c candidate) bool {
			return p.BelongsTo(c.container.tag, c.process.PID)
		})
		if i < 0 {
			continue
		}
		for _, inode := range procfs.SocketInodes(p.PID) {
			if socket, found := suspects[inode]; found {
				delete(suspects, inode)
				s.killWildcard(candidates[i], socket)
			}
		}
	}
	if regular {
		for inode := range suspects {
			s.wildcards.foreign[inode]++
		}
	}
}

// suspects returns the wildcard sockets that may belong to a container, by inode, and forgets foreign ones that are
// closed.
func (s *supervisor) suspects() map[uint64]procfs.Socket {
	suspects := map[uint64]procfs.Socket{}
	foreign := map[uint64]int{}
	for _, network := range []string{"tcp", "tcp6", "udp", "udp6"} {
		sockets, err := procfs.Sockets(network)
		if err != nil {
			continue // a kernel without IPv6 has no tcp6
		}
		for _, socket := range sockets {
			if !answersForSiblings(socket, s.wildcards.ephemeral, func(uint16) bool { return true }) {
				continue
			}
			foreign[socket.Inode] = s.wildcards.foreign[socket.Inode]
			if foreign[socket.Inode] < scansToIgnore {
				suspects[socket.Inode] = socket
			}
		}
	}
	s.wildcards.foreign = foreign
	return suspects
}

// killWildcard kills a container because of its socket, unless it may have it.
func (s *supervisor) killWildcard(c candidate, socket procfs.Socket) {
	declared := func(port uint16) bool {
		return slices.ContainsFunc(c.container.spec.Ports, func(p agent.Port) bool {
			return p.Container == port && addrlease.ProtocolOf(p) == "udp"
		})
	}
	if !answersForSiblings(socket, s.wildcards.ephemeral, declared) {
		return
	}
	s.mu.Lock()
	c.container.killReason = fmt.Sprintf("%sthe container listens on %s and so would answer for other tasks "+
		"of this machine; "+
		"it must listen on its own address, %s ($ROLLCALL_ADDRESS)", startFailure, socket, c.task.sandbox.Address)
	s.mu.Unlock()
	if c.process.Alive(s.bootID) {
		_ = syscall.Kill(-c.process.PID, syscall.SIGKILL)
	}
}

// answersForSiblings reports whether a socket receives what is sent to any address of the machine, so also to those of
// other tasks. A UDP socket on an ephemeral port is a client that waits for replies, unless the task declares the port.
func answersForSiblings(s procfs.Socket, ephemeral addrlease.PortRange, declared func(port uint16) bool) bool {
	if !s.Listens || !s.Local.Addr().Unmap().IsUnspecified() {
		return false
	}
	if strings.HasPrefix(s.Network, "udp") && ephemeral.Has(s.Local.Port()) {
		return declared(s.Local.Port())
	}
	return true
}
