package clients

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/bakingclouds/rollcall/test/harness"
)

// TestRevisionPoller polls DiscoverInstancesRevision and calls DiscoverInstances only when the revision has changed. It
// must see every change of the instances, and the revision must not change without one.
func TestRevisionPoller(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "none")
	api, ctx := s.CloudMapWithoutRetries(), t.Context()
	svc := s.CreateCloudMapService(s.CreateNamespace("shop"), "cart", 10)
	known, discovered, addresses := int64(0), 0, map[string]string{}
	poll := func() {
		t.Helper()
		now := *harness.Must(api.DiscoverInstancesRevision(ctx,
			&sd.DiscoverInstancesRevisionInput{NamespaceName: aws.String("shop"),
				ServiceName: aws.String("cart")}))(t).InstancesRevision
		if now < known || now >= 1<<53 { // JavaScript represents larger numbers inexactly
			t.Errorf("the revision changed from %d to %d, want it to grow and to stay below 2^53", known, now)
		}
		if now != known {
			known, addresses = now, s.Discover("shop", "cart", "")
			discovered++
		}
	}
	for _, step := range []struct {
		name                  string
		do                    func()
		discovered, instances int
	}{
		{"the start", func() {}, 1, 0},
		{"no change", func() {}, 1, 0},
		{"an instance", func() { s.RegisterInstance(*svc.Id, "a", map[string]string{"AWS_INSTANCE_IPV4": "10.0.0.1"}) },
			2, 1},
		{"another instance", func() {
			s.RegisterInstance(*svc.Id, "b", map[string]string{
				"AWS_INSTANCE_IPV4": "10.0.0.2"})
		},
			3, 2},
		{"a new TTL", func() {
			harness.Must(api.UpdateService(ctx, &sd.UpdateServiceInput{Id: svc.Id, Service: &sdtypes.ServiceChange{
				DnsConfig: &sdtypes.DnsConfigChange{DnsRecords: []sdtypes.DnsRecord{
					{Type: sdtypes.RecordTypeA, TTL: aws.Int64(5)}}}}}))(t)
		}, 3, 2},
		{"a deregistration", func() {
			harness.Must(api.DeregisterInstance(ctx, &sd.DeregisterInstanceInput{ServiceId: svc.Id,
				InstanceId: aws.String("a")}))(t)
		}, 4, 1},
	} {
		step.do()
		poll()
		if discovered != step.discovered || len(addresses) != step.instances {
			t.Errorf("after %s: %d discoveries, %d instances; want %d, %d", step.name, discovered, len(addresses),
				step.discovered, step.instances)
		}
	}
}
