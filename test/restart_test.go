package test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
)

// TestCustomStatusStands holds that what a user says of a task's instance stands over a restart and over
// other changes of its task, until its health check says something else.
func TestCustomStatusStands(t *testing.T) {
	t.Parallel()
	s := serve(t)
	cart := s.Discovery(s.Namespace("shop"), "cart", 1)
	s.Run("cart", s.Register(worker(t, "flask-worker", "")), 2, cart)
	s.Stable("cart")
	s.answersAre("cart", 2)
	victim := taskID(s.Tasks("cart", ecstypes.DesiredStatusRunning)[0])
	must[*servicediscovery.UpdateInstanceCustomHealthStatusOutput](t)(s.CloudMap().UpdateInstanceCustomHealthStatus(t.Context(),
		&servicediscovery.UpdateInstanceCustomHealthStatusInput{ServiceId: cart.Id, InstanceId: &victim, Status: "UNHEALTHY"}))
	if got := s.Lookup("cart.shop"); len(got) != 1 {
		t.Fatalf("an instance that a user calls unhealthy is answered: %v", got)
	}
	s.Kill()
	again := serveOn(t, s.Dir)
	s.Info, s.Keys = again.Info, again.Keys
	s.Stable("cart")
	s.says("status") // a round through the loops' state
	if got := s.Lookup("cart.shop"); len(got) != 1 {
		t.Errorf("a restart forgot that an instance is unhealthy: %v", got)
	}
	must[*servicediscovery.UpdateInstanceCustomHealthStatusOutput](t)(s.CloudMap().UpdateInstanceCustomHealthStatus(t.Context(),
		&servicediscovery.UpdateInstanceCustomHealthStatusInput{ServiceId: cart.Id, InstanceId: aws.String(victim), Status: "HEALTHY"}))
	s.answersAre("cart", 2)
}

// TestNodeName holds that a data folder's tasks are not given up because the machine, or the flag, has
// another name today.
func TestNodeName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	serveOn(t, dir, "--runtime", "none").Stop()
	if _, err := start(t, dir, "--runtime", "none", "--node", "other"); err == nil || !strings.Contains(err.Error(), "belongs to node test") {
		t.Errorf("another node's name on this folder: %v, want a refusal that names the folder's node", err)
	}
	serveOn(t, dir, "--runtime", "none", "--node", "") // as without the flag: the folder knows
}
