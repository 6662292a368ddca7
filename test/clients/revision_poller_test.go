package clients

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/bakingclouds/rollcall/test/harness"
)

// TestRevisionPoller: who polls asks for the revision first, and discovers only when it has changed. It must not miss
// one, nor discover for what is none.
func TestRevisionPoller(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "none")
	api, ctx := s.CloudMapWithoutRetries(), t.Context()
	svc := s.CreateCloudMapService(s.CreateNamespace("shop"), "cart", 10)
	known, asked, addresses := int64(0), 0, map[string]string{}
	poll := func() {
		t.Helper()
		now := *harness.Must(api.DiscoverInstancesRevision(ctx,
			&sd.DiscoverInstancesRevisionInput{NamespaceName: aws.String("shop"), ServiceName: aws.String("cart")}))(t).InstancesRevision
		if now < known || now >= 1<<53 { // beyond, clients in JavaScript lose digits
			t.Errorf("the revision went from %d to %d", known, now)
		}
		if now != known {
			known, addresses = now, s.Discover("shop", "cart", "")
			asked++
		}
	}
	for _, step := range []struct {
		name      string
		do        func()
		asked, of int
	}{
		{"at first", func() {}, 1, 0},
		{"nothing", func() {}, 1, 0},
		{"an instance", func() { s.RegisterInstance(*svc.Id, "a", map[string]string{"AWS_INSTANCE_IPV4": "10.0.0.1"}) }, 2, 1},
		{"another", func() { s.RegisterInstance(*svc.Id, "b", map[string]string{"AWS_INSTANCE_IPV4": "10.0.0.2"}) }, 3, 2},
		{"a new TTL", func() {
			harness.Must(api.UpdateService(ctx, &sd.UpdateServiceInput{Id: svc.Id, Service: &sdtypes.ServiceChange{
				DnsConfig: &sdtypes.DnsConfigChange{DnsRecords: []sdtypes.DnsRecord{{Type: sdtypes.RecordTypeA, TTL: aws.Int64(5)}}}}}))(t)
		}, 3, 2},
		{"one less", func() {
			harness.Must(api.DeregisterInstance(ctx, &sd.DeregisterInstanceInput{ServiceId: svc.Id, InstanceId: aws.String("a")}))(t)
		}, 4, 1},
	} {
		step.do()
		poll()
		if asked != step.asked || len(addresses) != step.of {
			t.Errorf("after %s: asked %d times, %d instances; want %d, %d", step.name, asked, len(addresses), step.asked, step.of)
		}
	}
}
