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

// stubs are the addresses at which systemd-resolved answers local clients (systemd-resolved.service(8)).
// What it knows of our own namespaces would come back to us, so the list of the real resolvers is taken.
var stubs = []netip.Addr{netip.MustParseAddr("127.0.0.53"), netip.MustParseAddr("127.0.0.54")}

// hostList is the host's list of resolvers, as its files say at the moment.
type hostList struct {
	main, systemd string

	mu      sync.Mutex
	seen    [2]os.FileInfo // of main and systemd, as last read
	from    string
	servers []netip.AddrPort
}

// read returns the resolvers and the file that names them. It asks the file system each time whether the
// files are still the ones it has read, which takes a few microseconds where a question takes milliseconds.
// A file that cannot be read just now changes nothing.
func (h *hostList) read() (from string, servers []netip.AddrPort, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := [2]os.FileInfo{stat(h.main), stat(h.systemd)}
	if h.servers != nil && same(now[0], h.seen[0]) && same(now[1], h.seen[1]) {
		return h.from, h.servers, nil
	}
	from = h.main
	servers, err = parse(from)
	if err == nil && slices.ContainsFunc(servers, isStub) {
		if behind, err := parse(h.systemd); err == nil && len(behind) > 0 {
			from, servers = h.systemd, behind
		}
	}
	switch {
	case err == nil && len(servers) > 0:
		h.seen, h.from, h.servers = now, from, servers
	case h.servers != nil:
	case err == nil:
		return "", nil, fmt.Errorf("%s names none; name one with --upstream", from)
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

func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// parse reads the name servers of a resolv.conf; a line that is no address is passed over, as libc does.
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
