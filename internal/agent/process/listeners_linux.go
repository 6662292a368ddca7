package process

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/addrlease"
)

// How often it is looked for listeners: soon after a container has started, then ever more seldom.
const (
	firstLook  = 50 * time.Millisecond
	maxLookGap = 5 * time.Second
)

// listenerWatch ends awsvpc containers that listen on every address instead of their own.
type listenerWatch struct {
	ephemeral addrlease.PortRange
	started   chan struct{} // holds a token when a container has started since the last look

	mu sync.Mutex // one look at a time
	// strangers counts the looks at which a socket's inode was found with no container. One such look is not enough to
	// forget about it: its process may just have forked and ended.
	strangers map[uint64]int
}

// looksToForget is how many looks make a socket a stranger's for good.
const looksToForget = 3

func newListenerWatch(ephemeral addrlease.PortRange) *listenerWatch {
	return &listenerWatch{ephemeral: ephemeral, started: make(chan struct{}, 1), strangers: map[uint64]int{}}
}

// look asks for a look soon.
func (w *listenerWatch) look() {
	select {
	case w.started <- struct{}{}:
	default:
	}
}

// watchListeners looks until ctx ends.
func (s *supervisor) watchListeners(ctx context.Context) {
	gap := maxLookGap
	next := time.NewTimer(gap)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.listeners.started:
			if gap > firstLook { // else the look that is due soon will do
				gap = firstLook
				next.Reset(gap)
			}
		case <-next.C:
			s.endWildcardListeners(regularLook)
			gap = min(2*gap, maxLookGap)
			next.Reset(gap)
		}
	}
}

// watchedContainer is a container of an awsvpc task that has a process.
type watchedContainer struct {
	task      *task
	container *container
	process   identity
}

func (s *supervisor) watched() []watchedContainer {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []watchedContainer
	for _, t := range s.tasks {
		if t.sandbox.Spec.NetworkMode != agent.NetworkAWSVPC {
			continue
		}
		for _, c := range t.containers {
			if c.record.Process.PID != 0 && !c.record.Status.Ended() {
				all = append(all, watchedContainer{t, c, c.record.Process})
			}
		}
	}
	return all
}

// The looks.
const (
	regularLook = true
	extraLook   = false // counts for nothing in strangers, since several may come at once
)

// endWildcardListeners looks once. Sockets that are known to be no container's are not looked up again, so that a look
// that finds nothing new reads four files and no process.
func (s *supervisor) endWildcardListeners(regular bool) {
	s.listeners.mu.Lock()
	defer s.listeners.mu.Unlock()
	suspects := map[uint64]socket{}
	seen := map[uint64]int{}
	for _, network := range []string{"tcp", "tcp6", "udp", "udp6"} {
		text, err := listing(network)
		if err != nil {
			continue // a kernel without IPv6 has no tcp6
		}
		for _, sock := range parseSockets(network, text) {
			if !answersForSiblings(sock, s.listeners.ephemeral, func(uint16) bool { return true }) {
				continue
			}
			seen[sock.inode] = s.listeners.strangers[sock.inode]
			if seen[sock.inode] < looksToForget {
				suspects[sock.inode] = sock
			}
		}
	}
	s.listeners.strangers = seen
	// After the sockets: a container whose socket was seen has had a process since before.
	watched := s.watched()
	if len(suspects) == 0 || len(watched) == 0 {
		return
	}
	all, err := processes()
	if err != nil {
		s.log.Error("the listeners of containers cannot be looked for", "err", err)
		return
	}
	for _, p := range all {
		i := slices.IndexFunc(watched, func(w watchedContainer) bool {
			return p.belongsTo(w.container.tag, w.process.PID)
		})
		if i < 0 {
			continue
		}
		for _, inode := range socketInodes(p.pid) {
			if sock, found := suspects[inode]; found {
				delete(suspects, inode)
				s.endWildcardListener(watched[i], sock)
			}
		}
	}
	if regular {
		for inode := range suspects {
			seen[inode]++
		}
	}
}

// listing reads the file of a network's sockets, of TCP as far as it lists those that listen: the kernel writes them
// first (tcp_seek_last_pos in net/ipv4/tcp_ipv4.c), and on a machine with much traffic thousands of connections follow.
func listing(network string) (string, error) {
	f, err := os.Open("/proc/net/" + network)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var text strings.Builder
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if strings.HasPrefix(network, "tcp") && len(fields) > 3 && fields[0] != "sl" && fields[3] != tcpListen {
			break
		}
		text.WriteString(lines.Text() + "\n")
	}
	return text.String(), lines.Err()
}

func (s *supervisor) endWildcardListener(w watchedContainer, sock socket) {
	declared := func(port uint16) bool {
		return slices.ContainsFunc(w.container.spec.Ports, func(p agent.Port) bool {
			return p.Container == port && addrlease.ProtocolOf(p) == "udp"
		})
	}
	if !answersForSiblings(sock, s.listeners.ephemeral, declared) {
		return
	}
	s.mu.Lock()
	w.container.verdict = fmt.Sprintf("%sthe container listens on %s and so would answer for other tasks of this machine; it must listen on its own address, %s ($ROLLCALL_ADDRESS)",
		startFailure, sock, w.task.sandbox.Address)
	s.mu.Unlock()
	if w.process.alive(s.bootID) {
		syscall.Kill(-w.process.PID, syscall.SIGKILL)
	}
}
