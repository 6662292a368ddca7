package failures

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"

	"github.com/bakingclouds/rollcall/test/harness"
)

// TestExpiredLease registers instances with a lease. An instance whose lease is renewed must stay registered, a restart
// of the server must start every lease again, and an instance whose lease is not renewed must be deregistered.
func TestExpiredLease(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := harness.ServeOn(t, dir, "--runtime", "none")
	srv := s.CreateCloudMapService(s.CreateNamespace("shop"), "cart", 5)
	for i, seconds := range map[string]string{"1": "10", "2": "600"} {
		s.RegisterInstance(*srv.Id, "lease-"+i, map[string]string{
			"AWS_INSTANCE_IPV4": "192.0.2." + i, "ROLLCALL_LEASE_SECONDS": seconds,
		})
	}
	for registered := time.Now(); time.Since(registered) < 15*time.Second; { // longer than the lease
		began := time.Now()
		harness.Eventually(t, 5*time.Second, "a second has passed",
			func() bool { return time.Since(began) > time.Second })
		harness.Must(s.CloudMap().UpdateInstanceCustomHealthStatus(t.Context(),
			&servicediscovery.UpdateInstanceCustomHealthStatusInput{ServiceId: srv.Id,
				InstanceId: aws.String("lease-1"),
				Status:     "HEALTHY"}))(t)
		if got := s.Lookup("cart.shop"); len(got) != 2 {
			t.Fatalf("the answer is %v, want both instances: their leases are renewed", got)
		}
	}
	s.Kill()
	s = harness.ServeOn(t, dir, "--runtime", "none")
	if got := s.Lookup("cart.shop"); len(got) != 2 {
		t.Fatalf("after a restart the answer is %v, want both instances", got)
	}
	harness.Eventually(t, 30*time.Second, "the lease that is not renewed has expired",
		func() bool { return len(s.Lookup("cart.shop")) == 1 })
	_, err := s.CloudMap().GetInstance(t.Context(), &servicediscovery.GetInstanceInput{ServiceId: srv.Id,
		InstanceId: aws.String("lease-1")})
	if err == nil || !strings.Contains(err.Error(), "InstanceNotFound") {
		t.Errorf("GetInstance of the expired instance: %v, want InstanceNotFound", err)
	}
	if _, err := s.CloudMap().RegisterInstance(t.Context(), &servicediscovery.RegisterInstanceInput{
		ServiceId: srv.Id, InstanceId: aws.String("x"),
		Attributes: map[string]string{"AWS_INSTANCE_IPV4": "192.0.2.3", "ROLLCALL_LEASE_SECONDS": "soon"},
	}); err == nil || !strings.Contains(err.Error(), "InvalidInput") {
		t.Errorf("a lease that is not a number: %v, want InvalidInput", err)
	}
}
