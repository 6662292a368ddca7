package procfs

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// Socket is one line of /proc/net/{tcp,tcp6,udp,udp6} (proc_pid_net(5)).
type Socket struct {
	Network string // the name of the file
	Local   netip.AddrPort
	Listens bool // a TCP socket that listens, or a UDP socket that is not connected
	Inode   uint64
}

// String returns the protocol and the local address.
func (s Socket) String() string {
	return strings.TrimSuffix(s.Network, "6") + " " + s.Local.String()
}

// The socket states in proc_pid_net(5) that receive what is sent to the local address.
const (
	tcpListen      = "0A"
	udpUnconnected = "07"
)

// Sockets returns the sockets of a network: tcp, tcp6, udp or udp6. Of TCP it returns those that listen.
func Sockets(network string) ([]Socket, error) {
	f, err := os.Open("/proc/net/" + network)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseSockets(network, f)
}

// parseSockets parses one of the files and skips lines that it does not understand. It stops at the first TCP
// connection: the kernel lists the sockets that listen first (tcp_seek_last_pos in net/ipv4/tcp_ipv4.c), and on a busy
// machine thousands of connections follow.
func parseSockets(network string, text io.Reader) ([]Socket, error) {
	tcp := strings.HasPrefix(network, "tcp")
	state := udpUnconnected
	if tcp {
		state = tcpListen
	}
	var all []Socket
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 3 && fields[0] != "sl" && tcp && fields[3] != state {
			break
		}
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
		all = append(all, Socket{Network: network, Local: local, Listens: fields[3] == state, Inode: inode})
	}
	return all, lines.Err()
}

// parseSocketAddress parses "0100007F:1F90": the address as 32-bit words in the machine's byte order, then the port.
func parseSocketAddress(text string) (netip.AddrPort, error) {
	address, port, _ := strings.Cut(text, ":")
	words, err := hex.DecodeString(address)
	if err != nil || len(words)%4 != 0 {
		return netip.AddrPort{}, fmt.Errorf("%q is not a socket address", text)
	}
	for i := 0; i < len(words); i += 4 {
		binary.NativeEndian.PutUint32(words[i:], binary.BigEndian.Uint32(words[i:]))
	}
	ip, ok := netip.AddrFromSlice(words)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("%q is not a socket address", text)
	}
	number, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q has no port", text)
	}
	return netip.AddrPortFrom(ip, uint16(number)), nil
}
