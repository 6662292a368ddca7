package failures

import (
	"testing"

	"github.com/bakingclouds/rollcall/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m, nil) }
