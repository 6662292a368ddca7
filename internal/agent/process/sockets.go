package process

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/bakingclouds/rollcall/internal/agent/addrlease"
)

// socket is one line of /proc/net/{tcp,tcp6,udp,udp6} (proc_pid_net(5)).
type socket struct {
	network string // the file's name
	local   netip.AddrPort
	listens bool // TCP that listens, or UDP that is not connected
	inode   uint64
}

func (s socket) String() string {
	return strings.TrimSuffix(s.network, "6") + " " + s.local.String()
}

// The states of proc_pid_net(5) that can take what is sent to the local address.
const (
	tcpListen      = "0A"
	udpUnconnected = "07"
)

// parseSockets reads one of the files; lines that it cannot read are left out.
func parseSockets(network, text string) []socket {
	var all []socket
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 10 || fields[0] == "sl" {
			continue
		}
		local, err := parseSocketAddress(fields[1])
		if err != nil {
			continue
		}
		inode, err := strconv.ParseUint(fields[9], 10, 64)
		if err != nil {
			continue
		}
		state := tcpListen
		if strings.HasPrefix(network, "udp") {
			state = udpUnconnected
		}
		all = append(all, socket{network: network, local: local, listens: fields[3] == state, inode: inode})
	}
	return all
}

// parseSocketAddress reads "0100007F:1F90": the address as 32-bit words in this machine's byte order, then the port.
func parseSocketAddress(text string) (netip.AddrPort, error) {
	address, port, _ := strings.Cut(text, ":")
	words, err := hex.DecodeString(address)
	if err != nil || len(words)%4 != 0 {
		return netip.AddrPort{}, fmt.Errorf("no socket address: %q", text)
	}
	for i := 0; i < len(words); i += 4 {
		binary.NativeEndian.PutUint32(words[i:], binary.BigEndian.Uint32(words[i:]))
	}
	ip, ok := netip.AddrFromSlice(words)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("no socket address: %q", text)
	}
	number, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("no port: %q", text)
	}
	return netip.AddrPortFrom(ip, uint16(number)), nil
}

// answersForSiblings says that the socket takes what is sent to any address of the machine, so also to those of other
// tasks. A UDP socket on a port that the kernel chose by itself (ephemeral) is a client waiting for replies, unless
// the task declared that port.
func answersForSiblings(s socket, ephemeral addrlease.PortRange, declared func(port uint16) bool) bool {
	if !s.listens || !s.local.Addr().Unmap().IsUnspecified() {
		return false
	}
	if strings.HasPrefix(s.network, "udp") && ephemeral.Has(s.local.Port()) {
		return declared(s.local.Port())
	}
	return true
}
