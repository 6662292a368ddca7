// Command rollcall is Amazon ECS Service Discovery on any machine, in one binary: `rollcall help` lists
// what it does.
package main

import (
	"os"

	"github.com/bakingclouds/rollcall/internal/agent/docker/role"

	"github.com/bakingclouds/rollcall/internal/agent/process"
	"github.com/bakingclouds/rollcall/internal/cli"
)

func main() {
	// The supervisor of tasks, and the step between a fork and a task's program, are this binary too.
	if status, ok := process.Main(os.Args[1:]); ok {
		os.Exit(status)
	}
	// What a container does that only holds a task's namespaces, too.
	if status, ok := role.Main(os.Args[1:]); ok {
		os.Exit(status)
	}
	os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr))
}
