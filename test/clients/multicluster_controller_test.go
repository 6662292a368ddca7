package clients

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/bakingclouds/rollcall/test/harness"
)

// TestMultiClusterController makes the calls of the Cloud Map controller for multi-cluster Kubernetes services:
// services with SRV records and no routing policy, ids such as tcp-10_0_0_1-80, attributes without a value, and
// discovery of instances with any health.
func TestMultiClusterController(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "none")
	api, ctx := s.CloudMapWithoutRetries(), t.Context()
	svc := harness.Must(api.CreateService(ctx, &sd.CreateServiceInput{
		Name: aws.String("web"), NamespaceId: aws.String(s.CreateNamespace("demo")),
		DnsConfig: &sdtypes.DnsConfig{DnsRecords: []sdtypes.DnsRecord{{Type: sdtypes.RecordTypeSrv,
			TTL: aws.Int64(60)}}}}))(t).Service
	if svc.DnsConfig.RoutingPolicy != sdtypes.RoutingPolicyMultivalue {
		t.Errorf("the default routing policy is %q", svc.DnsConfig.RoutingPolicy)
	}
	attributes := map[string]string{"AWS_INSTANCE_IPV4": "10.0.0.1", "AWS_INSTANCE_PORT": "80", "CLUSTER_ID": "a",
		"ENDPOINT_PORT_NAME": "", "READY": "true"}
	out := harness.Must(api.RegisterInstance(ctx, &sd.RegisterInstanceInput{ServiceId: svc.Id,
		InstanceId: aws.String("tcp-10_0_0_1-80"), Attributes: attributes}))(t)
	op := harness.Must(api.GetOperation(ctx, &sd.GetOperationInput{OperationId: out.OperationId}))(t).Operation
	if op.Status != sdtypes.OperationStatusSuccess || op.Targets["INSTANCE"] != "tcp-10_0_0_1-80" {
		t.Errorf("the operation is %s", harness.AsJSON(op))
	}
	found := harness.Must(api.DiscoverInstances(ctx, &sd.DiscoverInstancesInput{NamespaceName: aws.String("demo"),
		ServiceName:  aws.String("web"),
		HealthStatus: sdtypes.HealthStatusFilterAll, MaxResults: aws.Int32(1000),
		QueryParameters: map[string]string{"CLUSTER_ID": "a"}}))(t)
	if len(found.Instances) != 1 || cmp.Diff(attributes, found.Instances[0].Attributes) != "" {
		t.Errorf("DiscoverInstances returns %s", harness.AsJSON(found.Instances))
	}
	reply := harness.Must(s.QueryDNS("web.demo", dns.TypeSRV))(t)
	if srv, ok := reply.Answer[0].(*dns.SRV); !ok || srv.Target != "tcp-10_0_0_1-80.web.demo." || srv.Port != 80 ||
		srv.Hdr.Ttl != 60 {
		t.Errorf("the SRV records are %v", reply.Answer)
	}
}
