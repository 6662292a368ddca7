package test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

//lint:file-ignore SA1019 these clients send members that AWS calls deprecated, and their calls are repeated here as they are

// TestAppMeshController: it finds its namespace in the whole list, owns a service by its CreatorRequestId,
// repeats calls, names instances by the pods' addresses, and takes GetInstance for the pod's readiness.
func TestAppMeshController(t *testing.T) {
	t.Parallel()
	s := serve(t, "--runtime", "none")
	api, ctx := s.cloudMapOnce(), t.Context()
	want := s.Namespace("mesh.local")
	s.Namespace("other.local")
	namespace := ""
	find(t, sd.NewListNamespacesPaginator(api, &sd.ListNamespacesInput{}), func(page *sd.ListNamespacesOutput) []string {
		for _, ns := range page.Namespaces {
			if *ns.Name == "mesh.local" && ns.Type == sdtypes.NamespaceTypeDnsPrivate {
				namespace = *ns.Id
			}
		}
		return nil
	})
	if namespace != want {
		t.Fatalf("found the namespace %s, want %s", namespace, want)
	}
	uid := "0f6a1d2c-6a5e-4f4e-9c59-0d9b0f1f7a11"
	create := func() *sdtypes.Service {
		return must[*sd.CreateServiceOutput](t)(api.CreateService(ctx, &sd.CreateServiceInput{
			Name: aws.String("node"), NamespaceId: &namespace, CreatorRequestId: &uid,
			DnsConfig:               &sdtypes.DnsConfig{RoutingPolicy: sdtypes.RoutingPolicyMultivalue, DnsRecords: []sdtypes.DnsRecord{{Type: sdtypes.RecordTypeAaaa, TTL: aws.Int64(300)}}},
			HealthCheckCustomConfig: &sdtypes.HealthCheckCustomConfig{FailureThreshold: aws.Int32(1)}})).Service
	}
	svc := create()
	if again := create(); *again.Id != *svc.Id {
		t.Errorf("the same request again made %s beside %s", *again.Id, *svc.Id)
	}
	if got := must[*sd.GetServiceOutput](t)(api.GetService(ctx, &sd.GetServiceInput{Id: svc.Id})).Service; aws.ToString(got.CreatorRequestId) != uid {
		t.Errorf("the service is owned by %q", aws.ToString(got.CreatorRequestId))
	}

	pod := "2001:db8::17"
	ready := func() error {
		_, err := api.GetInstance(ctx, &sd.GetInstanceInput{ServiceId: svc.Id, InstanceId: &pod})
		return err
	}
	if code := errorCode(ready()); code != "InstanceNotFound" {
		t.Errorf("before the registration: %q", code)
	}
	attributes := map[string]string{"AWS_INSTANCE_IPV6": pod, "AWS_INIT_HEALTH_STATUS": "HEALTHY",
		"app.kubernetes.io/name": "node", "k8s.io/namespace": "default", "appmesh.k8s.aws/mesh": ""}
	for range 2 {
		s.registerInstance(*svc.Id, pod, attributes)
		if err := ready(); err != nil {
			t.Errorf("after the registration: %v", err)
		}
	}
	health := must[*sd.GetInstancesHealthStatusOutput](t)(api.GetInstancesHealthStatus(ctx, &sd.GetInstancesHealthStatusInput{ServiceId: svc.Id, Instances: []string{pod}}))
	if health.Status[pod] != sdtypes.HealthStatusHealthy {
		t.Errorf("health: %v", health.Status)
	}
	if _, err := api.DeleteService(ctx, &sd.DeleteServiceInput{Id: svc.Id}); errorCode(err) != "ResourceInUse" {
		t.Errorf("delete a service with an instance: %v", err)
	}
	must[*sd.DeregisterInstanceOutput](t)(api.DeregisterInstance(ctx, &sd.DeregisterInstanceInput{ServiceId: svc.Id, InstanceId: &pod}))
	must[*sd.DeleteServiceOutput](t)(api.DeleteService(ctx, &sd.DeleteServiceInput{Id: svc.Id}))
}

// TestMultiClusterController: services of SRV records without a policy, ids such as tcp-10_0_0_1-80, attributes
// without a value, and discovery of all, whatever their health.
func TestMultiClusterController(t *testing.T) {
	t.Parallel()
	s := serve(t, "--runtime", "none")
	api, ctx := s.cloudMapOnce(), t.Context()
	svc := must[*sd.CreateServiceOutput](t)(api.CreateService(ctx, &sd.CreateServiceInput{
		Name: aws.String("web"), NamespaceId: aws.String(s.Namespace("demo")),
		DnsConfig: &sdtypes.DnsConfig{DnsRecords: []sdtypes.DnsRecord{{Type: sdtypes.RecordTypeSrv, TTL: aws.Int64(60)}}}})).Service
	if svc.DnsConfig.RoutingPolicy != sdtypes.RoutingPolicyMultivalue {
		t.Errorf("without a policy it is %q", svc.DnsConfig.RoutingPolicy)
	}
	attributes := map[string]string{"AWS_INSTANCE_IPV4": "10.0.0.1", "AWS_INSTANCE_PORT": "80", "CLUSTER_ID": "a", "ENDPOINT_PORT_NAME": "", "READY": "true"}
	out := must[*sd.RegisterInstanceOutput](t)(api.RegisterInstance(ctx, &sd.RegisterInstanceInput{ServiceId: svc.Id, InstanceId: aws.String("tcp-10_0_0_1-80"), Attributes: attributes}))
	op := must[*sd.GetOperationOutput](t)(api.GetOperation(ctx, &sd.GetOperationInput{OperationId: out.OperationId})).Operation
	if op.Status != sdtypes.OperationStatusSuccess || op.Targets["INSTANCE"] != "tcp-10_0_0_1-80" {
		t.Errorf("the operation: %s", asJSON(op))
	}
	found := must[*sd.DiscoverInstancesOutput](t)(api.DiscoverInstances(ctx, &sd.DiscoverInstancesInput{NamespaceName: aws.String("demo"), ServiceName: aws.String("web"),
		HealthStatus: sdtypes.HealthStatusFilterAll, MaxResults: aws.Int32(1000), QueryParameters: map[string]string{"CLUSTER_ID": "a"}}))
	if len(found.Instances) != 1 || cmp.Diff(attributes, found.Instances[0].Attributes) != "" {
		t.Errorf("discovered: %s", asJSON(found.Instances))
	}
	reply := must[*dns.Msg](t)(s.ask("web.demo", dns.TypeSRV))
	if srv, ok := reply.Answer[0].(*dns.SRV); !ok || srv.Target != "tcp-10_0_0_1-80.web.demo." || srv.Port != 80 || srv.Hdr.Ttl != 60 {
		t.Errorf("SRV: %v", reply.Answer)
	}
}

// TestConsulAWS: it follows a namespace by its id, discovers by HttpName, asks for health, of services without
// any too, and deletes a service right after its last instance.
func TestConsulAWS(t *testing.T) {
	t.Parallel()
	s := serve(t, "--runtime", "none")
	api, ctx := s.cloudMapOnce(), t.Context()
	made := must[*sd.CreateHttpNamespaceOutput](t)(api.CreateHttpNamespace(ctx, &sd.CreateHttpNamespaceInput{Name: aws.String("consul")}))
	namespace := s.OperationTarget(made.OperationId)
	ns := must[*sd.GetNamespaceOutput](t)(api.GetNamespace(ctx, &sd.GetNamespaceInput{Id: &namespace})).Namespace
	for _, round := range []string{"first", "second"} {
		svc := must[*sd.CreateServiceOutput](t)(api.CreateService(ctx, &sd.CreateServiceInput{
			Name: aws.String("redis"), NamespaceId: &namespace, Description: aws.String("Imported from Consul")})).Service
		s.registerInstance(*svc.Id, "node-1", map[string]string{"AWS_INSTANCE_IPV4": "10.0.0.1", "AWS_INSTANCE_PORT": "6379"})
		listed := must[*sd.ListServicesOutput](t)(api.ListServices(ctx, &sd.ListServicesInput{
			Filters: []sdtypes.ServiceFilter{{Name: sdtypes.ServiceFilterNameNamespaceId, Condition: sdtypes.FilterConditionEq, Values: []string{namespace}}}})).Services
		if len(listed) != 1 || *listed[0].Name != "redis" || aws.ToString(listed[0].Description) != "Imported from Consul" {
			t.Errorf("%s: listed %s", round, asJSON(listed))
		}
		found := must[*sd.DiscoverInstancesOutput](t)(api.DiscoverInstances(ctx, &sd.DiscoverInstancesInput{
			NamespaceName: ns.Properties.HttpProperties.HttpName, ServiceName: aws.String("redis"), HealthStatus: sdtypes.HealthStatusFilterHealthy})).Instances
		if len(found) != 1 || found[0].Attributes["AWS_INSTANCE_PORT"] != "6379" {
			t.Errorf("%s: discovered %s", round, asJSON(found))
		}
		health := must[*sd.GetInstancesHealthStatusOutput](t)(api.GetInstancesHealthStatus(ctx, &sd.GetInstancesHealthStatusInput{ServiceId: svc.Id}))
		if health.Status["node-1"] != sdtypes.HealthStatusUnknown {
			t.Errorf("%s: health %v", round, health.Status)
		}
		must[*sd.DeregisterInstanceOutput](t)(api.DeregisterInstance(ctx, &sd.DeregisterInstanceInput{ServiceId: svc.Id, InstanceId: aws.String("node-1")}))
		must[*sd.DeleteServiceOutput](t)(api.DeleteService(ctx, &sd.DeleteServiceInput{Id: svc.Id}))
	}
}

// TestPoller: who polls asks for the revision first, and discovers only when it has changed. It must not miss
// one, nor discover for what is none.
func TestPoller(t *testing.T) {
	t.Parallel()
	s := serve(t, "--runtime", "none")
	api, ctx := s.cloudMapOnce(), t.Context()
	svc := s.Discovery(s.Namespace("shop"), "cart", 10)
	known, asked, addresses := int64(0), 0, map[string]string{}
	poll := func() {
		t.Helper()
		now := *must[*sd.DiscoverInstancesRevisionOutput](t)(api.DiscoverInstancesRevision(ctx,
			&sd.DiscoverInstancesRevisionInput{NamespaceName: aws.String("shop"), ServiceName: aws.String("cart")})).InstancesRevision
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
		{"an instance", func() { s.registerInstance(*svc.Id, "a", map[string]string{"AWS_INSTANCE_IPV4": "10.0.0.1"}) }, 2, 1},
		{"another", func() { s.registerInstance(*svc.Id, "b", map[string]string{"AWS_INSTANCE_IPV4": "10.0.0.2"}) }, 3, 2},
		{"a new TTL", func() {
			must[*sd.UpdateServiceOutput](t)(api.UpdateService(ctx, &sd.UpdateServiceInput{Id: svc.Id, Service: &sdtypes.ServiceChange{
				DnsConfig: &sdtypes.DnsConfigChange{DnsRecords: []sdtypes.DnsRecord{{Type: sdtypes.RecordTypeA, TTL: aws.Int64(5)}}}}}))
		}, 3, 2},
		{"one less", func() {
			must[*sd.DeregisterInstanceOutput](t)(api.DeregisterInstance(ctx, &sd.DeregisterInstanceInput{ServiceId: svc.Id, InstanceId: aws.String("a")}))
		}, 4, 1},
	} {
		step.do()
		poll()
		if asked != step.asked || len(addresses) != step.of {
			t.Errorf("after %s: asked %d times, %d instances; want %d, %d", step.name, asked, len(addresses), step.asked, step.of)
		}
	}
}
