package harness

import (
	"os"
	"testing"

	"github.com/bakingclouds/rollcall/internal/agent/process"
	"github.com/bakingclouds/rollcall/internal/cli"
)

// Main is the TestMain of a package that starts servers from its own test binary. That binary is also the rollcall
// command line, the process runtime's helpers, and the programs given, each of which it runs when its first argument is
// the program's name. Otherwise Main runs the tests.
func Main(m *testing.M, programs map[string]func() int) {
	if status, ok := process.Main(os.Args[1:]); ok {
		os.Exit(status)
	}
	if os.Getenv(RunAsCommand) != "" || len(os.Args) > 1 && os.Args[1] == "sample" {
		os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr))
	}
	if len(os.Args) > 1 {
		if run, ok := programs[os.Args[1]]; ok {
			os.Exit(run())
		}
	}
	status := m.Run()
	CleanUp()
	os.Exit(status)
}
