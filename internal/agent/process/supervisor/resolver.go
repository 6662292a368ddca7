package supervisor

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// The files that decide how a program resolves names.
const (
	resolvConf   = "/etc/resolv.conf"
	nsswitchConf = "/etc/nsswitch.conf"
	nscdSocket   = "/run/nscd/socket"
	hostsConf    = "/etc/hosts"
)

// nsswitchText returns the machine's nsswitch.conf (nsswitch.conf(5)) for a task with a private resolv.conf. The C
// library asks sources such as resolve (systemd-resolved) over a socket and does not read resolv.conf for them, so only
// the sources that use files and resolv.conf stay on the hosts line. changed is false if the machine's text will do.
func nsswitchText(host string) (text string, changed bool) {
	lines := strings.Split(host, "\n")
	for i, line := range lines {
		content, _, _ := strings.Cut(line, "#")
		name, sources, found := strings.Cut(content, ":")
		if !found || strings.TrimSpace(name) != "hosts" {
			continue
		}
		kept := "hosts:"
		for _, source := range nsswitchSources(sources) {
			if slices.Contains([]string{"files", "myhostname", "dns"}, source) {
				kept += " " + source
			}
		}
		if !strings.Contains(kept, " dns") {
			kept += " dns"
		}
		if strings.Join(strings.Fields(content), " ") != kept {
			lines[i], changed = kept, true
		}
	}
	return strings.Join(lines, "\n"), changed
}

// nsswitchSources returns the sources on a database line without the [STATUS=action] after each: the action after a
// dropped source would apply to the source before it.
func nsswitchSources(line string) []string {
	var plain strings.Builder
	depth := 0
	for _, r := range line {
		switch {
		case r == '[':
			depth++
		case r == ']':
			depth--
			plain.WriteByte(' ')
		case depth == 0:
			plain.WriteRune(r)
		}
	}
	return strings.Fields(plain.String())
}

// hostsText returns the machine's hosts file (hosts(5)) with a task's names before all others, since the first line
// with a name wins.
func hostsText(host string, names map[string]netip.Addr) string {
	text := "# Written by Rollcall for this task.\n"
	for _, name := range slices.Sorted(maps.Keys(names)) {
		text += names[name].String() + " " + name + "\n"
	}
	return text + host
}
