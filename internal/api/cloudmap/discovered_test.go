package cloudmap

import (
	"testing"

	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/attributes"
	"github.com/bakingclouds/rollcall/internal/directory"
)

// TestDiscoveredMatchesCodec checks that AppendJSON writes the same JSON as the codec does for the SDK's type.
func TestDiscoveredMatchesCodec(t *testing.T) {
	view := func(name string, checked bool) *directory.View {
		return &directory.View{
			Namespace: &directory.Namespace{HTTPName: "shop<" + name},
			Service:   directory.Service{Name: name, HealthChecked: checked, Revision: 42},
		}
	}
	some := []*directory.Instance{
		{ID: "i-1", Attributes: attributes.Of(map[string]string{"AWS_INSTANCE_IPV4": "10.0.0.1", "zone": "a"})},
		{ID: `i/"2"\`, State: directory.Unhealthy, Attributes: attributes.Of(map[string]string{"é": "\n"})},
		{ID: "i-3", State: directory.Unready},
	}
	for _, d := range []discovered{
		{view("cart", true), nil},
		{view("cart", true), some[:1]},
		{view("cart", true), some},
		{view("cart", false), some},
		{view(`<"é>`, true), some},
	} {
		got := awsapi.UpperCamel.Append(nil, &d)
		var out sd.DiscoverInstancesOutput
		if err := awsapi.UpperCamel.Decode(got, &out); err != nil {
			t.Errorf("%s: %v", got, err)
		}
		if len(out.Instances) != len(d.instances) {
			t.Errorf("%s: %d instances, want %d", got, len(out.Instances), len(d.instances))
		}
		for k, i := range out.Instances {
			if *i.InstanceId != d.instances[k].ID || *i.NamespaceName != d.view.Namespace.HTTPName ||
				*i.ServiceName != d.view.Service.Name ||
				i.HealthStatus != healthOf(d.view, d.instances[k]) ||
				attributes.Of(i.Attributes) != d.instances[k].Attributes {
				t.Errorf("%s: instance %d differs from the directory's", got, k)
			}
		}
		if want := awsapi.UpperCamel.Append(nil, &out); string(got) != string(want) {
			t.Errorf("AppendJSON writes\n%s\nthe codec writes\n%s", got, want)
		}
	}
}
