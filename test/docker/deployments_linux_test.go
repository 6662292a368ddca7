package docker

import (
	"flag"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecs"

	"github.com/bakingclouds/rollcall/test/harness"
)

// deployments is how many updates TestDeploymentsUnderLoad makes; `make soak` asks for 200.
var deployments = flag.Int("deployments", 3, "how many deployments the proof of exact drain makes")

// TestDeploymentsUnderLoad is the proof of exact drain and of no gap for containers.
func TestDeploymentsUnderLoad(t *testing.T) {
	t.Parallel()
	harness.RequireEngine(t)
	s := serve(t)
	worker := func(family string) *ecs.RegisterTaskDefinitionInput { return sample(family, "flask-worker") }
	harness.NewLoadTest(t, s.Server, worker, sample("backend", "flask-backend")).Run(*deployments)
}
