package clients

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/bakingclouds/rollcall/test/harness"
)

// TestConsulAWS makes the calls of consul-aws. It reads its namespace by id, discovers by HttpName, asks for the health
// of instances of services without a health check, and deletes a service immediately after its last instance.
func TestConsulAWS(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "none")
	api, ctx := s.CloudMapWithoutRetries(), t.Context()
	made := harness.Must(api.CreateHttpNamespace(ctx, &sd.CreateHttpNamespaceInput{Name: aws.String("consul")}))(t)
	namespace := s.NamespaceOf(made.OperationId)
	ns := harness.Must(api.GetNamespace(ctx, &sd.GetNamespaceInput{Id: &namespace}))(t).Namespace
	for _, round := range []string{"first", "second"} {
		svc := harness.Must(api.CreateService(ctx, &sd.CreateServiceInput{
			Name: aws.String("redis"), NamespaceId: &namespace,
			Description: aws.String("Imported from Consul")}))(t).Service
		s.RegisterInstance(*svc.Id, "node-1", map[string]string{"AWS_INSTANCE_IPV4": "10.0.0.1",
			"AWS_INSTANCE_PORT": "6379"})
		listed := harness.Must(api.ListServices(ctx, &sd.ListServicesInput{
			Filters: []sdtypes.ServiceFilter{{Name: sdtypes.ServiceFilterNameNamespaceId,
				Condition: sdtypes.FilterConditionEq,
				Values:    []string{namespace}}}}))(t).Services
		if len(listed) != 1 || *listed[0].Name != "redis" ||
			aws.ToString(listed[0].Description) != "Imported from Consul" {
			t.Errorf("%s round: ListServices returns %s", round, harness.AsJSON(listed))
		}
		found := harness.Must(api.DiscoverInstances(ctx, &sd.DiscoverInstancesInput{
			NamespaceName: ns.Properties.HttpProperties.HttpName, ServiceName: aws.String("redis"),
			HealthStatus: sdtypes.HealthStatusFilterHealthy}))(t).Instances
		if len(found) != 1 || found[0].Attributes["AWS_INSTANCE_PORT"] != "6379" {
			t.Errorf("%s round: DiscoverInstances returns %s", round, harness.AsJSON(found))
		}
		health := harness.Must(api.GetInstancesHealthStatus(ctx, &sd.GetInstancesHealthStatusInput{
			ServiceId: svc.Id}))(t)
		if health.Status["node-1"] != sdtypes.HealthStatusUnknown {
			t.Errorf("%s round: health is %v, want UNKNOWN", round, health.Status)
		}
		harness.Must(api.DeregisterInstance(ctx, &sd.DeregisterInstanceInput{ServiceId: svc.Id,
			InstanceId: aws.String("node-1")}))(t)
		harness.Must(api.DeleteService(ctx, &sd.DeleteServiceInput{Id: svc.Id}))(t)
	}
}
