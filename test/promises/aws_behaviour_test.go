package promises

import (
	"strings"
	"testing"

	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/bakingclouds/rollcall/test/harness"
)

// TestTaskInstanceAttributes checks the attributes and records of the instance that ECS registers for a task.
func TestTaskInstanceAttributes(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	s.CreateECSService("cart", s.RegisterDefinition(harness.Worker(t, "flask-worker", "")), 1,
		s.CreateCloudMapService(s.CreateNamespace("shop"), "cart", 1, sdtypes.RecordTypeA, sdtypes.RecordTypeSrv))
	s.WaitStable("cart")
	task := s.Tasks("cart", ecstypes.DesiredStatusRunning)[0]
	out := harness.Must(s.InstanceAttributes("shop", "cart", harness.TaskID(task)))(t)
	for key, want := range map[string]string{
		"AWS_INSTANCE_IPV4": harness.Address(task), "AWS_INSTANCE_PORT": "5000", "AVAILABILITY_ZONE": "us-east-1a",
		"REGION":           "us-east-1",
		"ECS_CLUSTER_NAME": "default", "ECS_SERVICE_NAME": "cart", "ECS_TASK_DEFINITION_FAMILY": "flask-worker",
	} {
		if out[key] != want {
			t.Errorf("attribute %s is %q, want %q", key, out[key], want)
		}
	}
	_, srvs, err := s.Resolver().LookupSRV(harness.ShortContext(t), "", "", "cart.shop.")
	if err != nil || len(srvs) != 1 || srvs[0].Port != 5000 || srvs[0].Target != harness.TaskID(task)+".cart.shop." {
		t.Errorf("the SRV records are %s, %v", harness.AsJSON(srvs), err)
	}
	if ips := s.Lookup(strings.TrimSuffix(srvs[0].Target, ".")); len(ips) != 1 {
		t.Errorf("the target of the SRV record has the addresses %v, want one", ips)
	}
}
