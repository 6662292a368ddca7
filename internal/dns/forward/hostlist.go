package forward

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"

	"github.com/miekg/dns"
)

// stubs are the addresses at which systemd-resolved answers local clients (systemd-resolved.service(8)). It may itself
// forward the names of our namespaces to this server, so the forwarder asks the resolvers behind it.
var stubs = []netip.Addr{netip.MustParseAddr("127.0.0.53"), netip.MustParseAddr("127.0.0.54")}

// hostList is the current list of the host's resolvers.
type hostList struct {
	resolvConf, systemd string // the files

	mu      sync.Mutex
	read    [2]os.FileInfo // of resolvConf and systemd, when they were last read
	from    string         // the file that lists servers
	servers []netip.AddrPort
}

// current returns the resolvers and the file that lists them. Each call checks whether the files have changed, which
// takes a few microseconds, while a question takes milliseconds. If a file cannot be read, current returns the previous
// list.
func (h *hostList) current() (from string, servers []netip.AddrPort, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := [2]os.FileInfo{stat(h.resolvConf), stat(h.systemd)}
	if h.servers != nil && sameFile(now[0], h.read[0]) && sameFile(now[1], h.read[1]) {
		return h.from, h.servers, nil
	}
	from = h.resolvConf
	servers, err = parse(from)
	if err == nil && slices.ContainsFunc(servers, isStub) {
		if behind, err := parse(h.systemd); err == nil && len(behind) > 0 {
			from, servers = h.systemd, behind
		}
	}
	switch {
	case err == nil && len(servers) > 0:
		h.read, h.from, h.servers = now, from, servers
	case h.servers != nil:
	case err == nil:
		return "", nil, fmt.Errorf("%s names no resolver; name one with --upstream", from)
	default:
		return "", nil, fmt.Errorf("%w; name one with --upstream", err)
	}
	return h.from, h.servers, nil
}

func isStub(s netip.AddrPort) bool { return slices.Contains(stubs, s.Addr()) }

func stat(file string) os.FileInfo {
	info, err := os.Stat(file)
	if err != nil {
		return nil
	}
	return info
}

func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// parse returns the name servers of a resolv.conf. Like libc, it ignores a name server that is not an IP address.
func parse(file string) ([]netip.AddrPort, error) {
	cfg, err := dns.ClientConfigFromFile(file)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(cfg.Port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%s: port %q: %w", file, cfg.Port, err)
	}
	var servers []netip.AddrPort
	for _, s := range cfg.Servers {
		if a, err := netip.ParseAddr(s); err == nil {
			servers = append(servers, netip.AddrPortFrom(a, uint16(port)))
		}
	}
	return servers, nil
}
