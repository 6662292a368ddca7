package docker

import (
	"flag"
	"os"
	"testing"

	"github.com/bakingclouds/rollcall/test/harness"
)

func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("test.parallel", "3") // tests mostly wait for containers, timeouts and TTLs
	shared.sweep()
	status := m.Run()
	shared.sweep()
	harness.CleanUp()
	os.Exit(status)
}
