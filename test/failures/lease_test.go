package failures

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"

	"github.com/bakingclouds/rollcall/test/harness"
)

// TestExpiredLease holds that an instance which nobody renews leaves the answers by itself, that a renewed one
// stays, and that a restart begins leases anew.
func TestExpiredLease(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := harness.ServeOn(t, dir, "--runtime", "none")
	srv := s.CreateCloudMapService(s.CreateNamespace("shop"), "cart", 5)
	for i, seconds := range map[string]string{"1": "2", "2": "600"} {
		s.RegisterInstance(*srv.Id, "lease-"+i, map[string]string{
			"AWS_INSTANCE_IPV4": "192.0.2." + i, "ROLLCALL_LEASE_SECONDS": seconds,
		})
	}
	began := time.Now()
	for range 4 { // a heartbeat keeps it for longer than its lease
		harness.Eventually(t, 5*time.Second, "a second has passed", func() bool { return time.Since(began) > time.Second })
		began = time.Now()
		harness.Must(s.CloudMap().UpdateInstanceCustomHealthStatus(t.Context(),
			&servicediscovery.UpdateInstanceCustomHealthStatusInput{ServiceId: srv.Id, InstanceId: aws.String("lease-1"), Status: "HEALTHY"}))(t)
		if got := s.Lookup("cart.shop"); len(got) != 2 {
			t.Fatalf("a renewed lease left the answers: %v", got)
		}
	}
	s.Kill()
	s = harness.ServeOn(t, dir, "--runtime", "none")
	if got := s.Lookup("cart.shop"); len(got) != 2 {
		t.Fatalf("a restart expired leases: %v", got)
	}
	harness.Eventually(t, 20*time.Second, "the lease that nobody renews has ended", func() bool { return len(s.Lookup("cart.shop")) == 1 })
	_, err := s.CloudMap().GetInstance(t.Context(), &servicediscovery.GetInstanceInput{ServiceId: srv.Id, InstanceId: aws.String("lease-1")})
	if err == nil || !strings.Contains(err.Error(), "InstanceNotFound") {
		t.Errorf("the expired instance: %v, want InstanceNotFound", err)
	}
	if _, err := s.CloudMap().RegisterInstance(t.Context(), &servicediscovery.RegisterInstanceInput{
		ServiceId: srv.Id, InstanceId: aws.String("x"), Attributes: map[string]string{"AWS_INSTANCE_IPV4": "192.0.2.3", "ROLLCALL_LEASE_SECONDS": "soon"},
	}); err == nil || !strings.Contains(err.Error(), "InvalidInput") {
		t.Errorf("a lease of no number: %v, want InvalidInput", err)
	}
}
