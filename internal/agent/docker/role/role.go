// Package role holds the hidden roles that this program plays inside containers: the pause container, which holds the
// namespaces of a task, and the self-test, which asks a DNS server from inside a container. [Main] starts them.
//
// cmd/rollcall calls Main before it does anything else. The package knows neither tasks nor the engine.
package role

import (
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// Pause is the command of a pause container.
const Pause = "pause"

// Main runs the role that args name: "pause", or "resolve-test ADDRESS:PORT". ok is false if args name no role. Call it
// first in main, so that a role uses little memory.
func Main(args []string) (status int, ok bool) {
	switch {
	case len(args) == 1 && args[0] == Pause:
		pause()
		return 0, true
	case len(args) == 2 && args[0] == ResolveTest:
		return resolveTest(args[1], os.Stdout), true
	}
	return 0, false
}

// pause waits for SIGTERM or SIGINT. As the first process of a shared pid namespace it becomes the parent of processes
// whose parents have ended (pid_namespaces(7)), so it reaps them.
//
// A pause container uses 8 MB of memory, most of it for package variables of this program, and 24 MB of the binary's
// pages, which all pause containers share.
func pause() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	debug.FreeOSMemory() // the memory that the start has used
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
