package docker

import (
	"flag"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecs"

	"github.com/bakingclouds/rollcall/test/harness"
)

// deployments is the number of deployments that TestDeploymentsUnderLoad makes; `make soak` makes 200.
var deployments = flag.Int("deployments", 3, "number of deployments under load")

// TestDeploymentsUnderLoad checks exact drain and no gap with tasks that are containers.
func TestDeploymentsUnderLoad(t *testing.T) {
	t.Parallel()
	harness.RequireEngine(t)
	s := serve(t)
	worker := func(family string) *ecs.RegisterTaskDefinitionInput { return sample(family, "flask-worker") }
	harness.NewLoadTest(t, s.Server, worker, sample("backend", "flask-backend")).Run(*deployments)
}
