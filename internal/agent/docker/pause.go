package docker

import (
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// pauseRole is the role of this binary that holds a task's namespaces.
const pauseRole = "pause"

// Main plays the hidden role that args name, if they do: "pause", or "resolve-test ADDRESS:PORT". It is to be called first
// thing in main, so that a role costs little; ok is false when args are not for it.
func Main(args []string) (status int, ok bool) {
	switch {
	case len(args) == 1 && args[0] == pauseRole:
		pause()
		return 0, true
	case len(args) == 2 && args[0] == testRole:
		return resolveTest(args[1], os.Stdout), true
	}
	return 0, false
}

// pause waits to be told to stop. As the first process of a pid namespace that others share it is the parent of those whose
// own parents have ended (pid_namespaces(7)), and takes their exit statuses. It has 8 MB of its own, from what the packages
// of this program hold once they are initialized, and 24 MB of the binary's pages, which all of them share.
func pause() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	debug.FreeOSMemory() // what starting took
	for s := range signals {
		if s != syscall.SIGCHLD {
			return
		}
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}
