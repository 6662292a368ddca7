package clients

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/bakingclouds/rollcall/test/harness"
)

//lint:file-ignore SA1019 these clients send members that AWS has deprecated, and the tests repeat their calls

// TestAppMeshController makes the calls of the App Mesh controller for Kubernetes. It finds its namespace in the list
// of all, recognizes its services by CreatorRequestId, repeats calls, names instances after the addresses of pods, and
// derives the readiness of a pod from GetInstance.
func TestAppMeshController(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "none")
	api, ctx := s.CloudMapWithoutRetries(), t.Context()
	want := s.CreateNamespace("mesh.local")
	s.CreateNamespace("other.local")
	namespace := ""
	harness.ReadPages(t, sd.NewListNamespacesPaginator(api, &sd.ListNamespacesInput{}),
		func(page *sd.ListNamespacesOutput) []string {
			for _, ns := range page.Namespaces {
				if *ns.Name == "mesh.local" && ns.Type == sdtypes.NamespaceTypeDnsPrivate {
					namespace = *ns.Id
				}
			}
			return nil
		})
	if namespace != want {
		t.Fatalf("ListNamespaces has the namespace %s, want %s", namespace, want)
	}
	uid := "0f6a1d2c-6a5e-4f4e-9c59-0d9b0f1f7a11"
	create := func() *sdtypes.Service {
		return harness.Must(api.CreateService(ctx, &sd.CreateServiceInput{
			Name: aws.String("node"), NamespaceId: &namespace, CreatorRequestId: &uid,
			DnsConfig: &sdtypes.DnsConfig{RoutingPolicy: sdtypes.RoutingPolicyMultivalue,
				DnsRecords: []sdtypes.DnsRecord{{Type: sdtypes.RecordTypeAaaa, TTL: aws.Int64(300)}}},
			HealthCheckCustomConfig: &sdtypes.HealthCheckCustomConfig{FailureThreshold: aws.Int32(1)}}))(t).Service
	}
	svc := create()
	if again := create(); *again.Id != *svc.Id {
		t.Errorf("the repeated request created %s in addition to %s", *again.Id, *svc.Id)
	}
	got := harness.Must(api.GetService(ctx, &sd.GetServiceInput{Id: svc.Id}))(t).Service
	if aws.ToString(got.CreatorRequestId) != uid {
		t.Errorf("CreatorRequestId is %q", aws.ToString(got.CreatorRequestId))
	}

	pod := "2001:db8::17"
	ready := func() error {
		_, err := api.GetInstance(ctx, &sd.GetInstanceInput{ServiceId: svc.Id, InstanceId: &pod})
		return err
	}
	if code := harness.ErrorCode(ready()); code != "InstanceNotFound" {
		t.Errorf("GetInstance before the registration: %q, want InstanceNotFound", code)
	}
	attributes := map[string]string{"AWS_INSTANCE_IPV6": pod, "AWS_INIT_HEALTH_STATUS": "HEALTHY",
		"app.kubernetes.io/name": "node", "k8s.io/namespace": "default", "appmesh.k8s.aws/mesh": ""}
	for range 2 {
		s.RegisterInstance(*svc.Id, pod, attributes)
		if err := ready(); err != nil {
			t.Errorf("GetInstance after the registration: %v", err)
		}
	}
	health := harness.Must(api.GetInstancesHealthStatus(ctx, &sd.GetInstancesHealthStatusInput{ServiceId: svc.Id,
		Instances: []string{pod}}))(t)
	if health.Status[pod] != sdtypes.HealthStatusHealthy {
		t.Errorf("health is %v, want HEALTHY", health.Status)
	}
	if _, err := api.DeleteService(ctx, &sd.DeleteServiceInput{Id: svc.Id}); harness.ErrorCode(err) != "ResourceInUse" {
		t.Errorf("DeleteService with an instance: %v, want ResourceInUse", err)
	}
	harness.Must(api.DeregisterInstance(ctx, &sd.DeregisterInstanceInput{ServiceId: svc.Id, InstanceId: &pod}))(t)
	harness.Must(api.DeleteService(ctx, &sd.DeleteServiceInput{Id: svc.Id}))(t)
}
