// Package portowner names the process that keeps an address or port taken, for error messages that say what
// to do. It reads Linux's /proc and knows nothing else.
package portowner

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Of names the process that listens on an address, "dnsmasq (pid 812)", as far as /proc tells; an address
// that is not valid stands for all of them. Other users' processes, and systems without /proc, leave it
// "another process".
func Of(ip netip.Addr, port uint16) string {
	if h := holder(ip, port); h != "" {
		return h
	}
	return "another process"
}

func holder(ip netip.Addr, port uint16) string {
	inodes := map[string]bool{}
	for _, table := range []string{"udp", "udp6", "tcp", "tcp6"} {
		if f, err := os.Open("/proc/net/" + table); err == nil {
			lines := bufio.NewScanner(f)
			for lines.Scan() {
				if inode, ok := holds(lines.Text(), strings.HasPrefix(table, "tcp"), ip, port); ok {
					inodes["socket:["+inode+"]"] = true
				}
			}
			f.Close()
		}
	}
	if len(inodes) == 0 {
		return ""
	}
	files, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, file := range files {
		if link, err := os.Readlink(file); err == nil && inodes[link] {
			pid := strings.Split(file, "/")[2]
			if pid == strconv.Itoa(os.Getpid()) {
				return "this very process"
			}
			name, _ := os.ReadFile("/proc/" + pid + "/comm")
			return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), pid)
		}
	}
	return ""
}

// holds reads a line of /proc/net/udp or tcp (proc_net(5)) and reports the inode of a socket that keeps
// others from the address: one on the same address, or where either is on all of them.
func holds(line string, tcp bool, ip netip.Addr, port uint16) (inode string, ok bool) {
	f := strings.Fields(line)
	const listening = "0A"
	if len(f) < 10 || tcp && f[3] != listening {
		return "", false
	}
	local, portText, _ := strings.Cut(f[1], ":")
	if n, err := strconv.ParseUint(portText, 16, 16); err != nil || uint16(n) != port {
		return "", false
	}
	words, err := hex.DecodeString(local)
	if err != nil {
		return "", false
	}
	// The kernel prints each 32-bit word of the address as a number of its own byte order.
	for k := 0; k+4 <= len(words); k += 4 {
		binary.NativeEndian.PutUint32(words[k:], binary.BigEndian.Uint32(words[k:]))
	}
	held, isAddr := netip.AddrFromSlice(words)
	if !isAddr {
		return "", false
	}
	all := !ip.IsValid() || ip.IsUnspecified() || held.IsUnspecified()
	return f[9], all || held.Unmap() == ip.Unmap()
}
