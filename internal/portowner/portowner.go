// Package portowner finds the process that uses an address and port, so that error messages can name it. It reads /proc
// and therefore works on Linux only.
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

// Of returns the name of the process that listens on an address and port, such as "dnsmasq (pid 812)". An invalid
// address means any address. Of returns "another process" if /proc does not show the process, because it belongs to
// another user or because the system has no /proc.
func Of(ip netip.Addr, port uint16) string {
	if name := owner(ip, port); name != "" {
		return name
	}
	return "another process"
}

// owner returns "" if /proc does not show the process.
func owner(ip netip.Addr, port uint16) string {
	inodes := map[string]bool{}
	for _, table := range []string{"udp", "udp6", "tcp", "tcp6"} {
		if f, err := os.Open("/proc/net/" + table); err == nil {
			lines := bufio.NewScanner(f)
			for lines.Scan() {
				if inode, ok := conflicting(lines.Text(), strings.HasPrefix(table, "tcp"), ip, port); ok {
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
				return "this process"
			}
			name, _ := os.ReadFile("/proc/" + pid + "/comm")
			return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), pid)
		}
	}
	return ""
}

// conflicting parses a line of /proc/net/udp or tcp (proc_net(5)) and returns the inode of its socket. It reports
// whether the socket prevents another one on the address and port: it has the same address, or one of the two addresses
// is unspecified.
func conflicting(line string, tcp bool, ip netip.Addr, port uint16) (inode string, ok bool) {
	f := strings.Fields(line)
	const listening = "0A"
	if len(f) < 10 || tcp && f[3] != listening {
		return "", false
	}
	localText, portText, _ := strings.Cut(f[1], ":")
	if n, err := strconv.ParseUint(portText, 16, 16); err != nil || uint16(n) != port {
		return "", false
	}
	words, err := hex.DecodeString(localText)
	if err != nil {
		return "", false
	}
	// The kernel prints each 32-bit word of the address as a number in the byte order of the machine.
	for k := 0; k+4 <= len(words); k += 4 {
		binary.NativeEndian.PutUint32(words[k:], binary.BigEndian.Uint32(words[k:]))
	}
	local, isAddr := netip.AddrFromSlice(words)
	if !isAddr {
		return "", false
	}
	all := !ip.IsValid() || ip.IsUnspecified() || local.IsUnspecified()
	return f[9], all || local.Unmap() == ip.Unmap()
}
