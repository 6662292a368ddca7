package docker

import (
	"flag"
	"os"
	"testing"

	"github.com/bakingclouds/rollcall/test/harness"
)

func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("test.parallel", "3") // most of the time they wait: for containers, for time-outs, for TTLs
	shared.sweep()
	status := m.Run()
	shared.sweep()
	harness.CleanUp()
	os.Exit(status)
}
