package registrar

import (
	"maps"
	"net/netip"
	"strings"
	"testing"

	"github.com/bakingclouds/rollcall/internal/task"
)

// TestInstancePort checks which of a task's ports becomes the port of its instance.
func TestInstancePort(t *testing.T) {
	row := &task.Task{Observed: task.Observed{Containers: []task.Container{
		{Name: "side", Bindings: []task.Binding{{ContainerPort: 9000, HostPort: 9000}}},
		{Name: "main", Bindings: []task.Binding{
			{ContainerPort: 80, HostPort: 50080}, {ContainerPort: 81, HostPort: 50081},
		}},
	}}}
	for _, tc := range []struct {
		name     string
		registry task.Registry
		want     int
	}{
		{"port of the registry", task.Registry{Port: 8080}, 8080},
		{"host port of a container port", task.Registry{ContainerName: "main", ContainerPort: 81}, 50081},
		{"container port that is not bound", task.Registry{ContainerName: "main", ContainerPort: 82}, 0},
		{"first host port", task.Registry{}, 9000},
	} {
		if got := instancePort(row, tc.registry); got != tc.want {
			t.Errorf("%s: instancePort = %d, want %d", tc.name, got, tc.want)
		}
	}
}

func TestInstanceAttributes(t *testing.T) {
	always := map[string]string{
		"AVAILABILITY_ZONE": "eu-west-1b", "REGION": "eu-west-1", "ECS_SERVICE_NAME": "web",
		"ECS_CLUSTER_NAME":           "default",
		"ECS_TASK_DEFINITION_FAMILY": "family",
	}
	for _, tc := range []struct {
		name, address, address6 string
		port                    int
		want                    string // IPV4 means AWS_INSTANCE_IPV4, and so on
	}{
		{"IPv4", "10.0.0.1", "", 0, "IPV4=10.0.0.1"},
		{"IPv6", "2001:db8::1", "", 0, "IPV6=2001:db8::1"},
		{"both", "10.0.0.1", "2001:db8::1", 0, "IPV4=10.0.0.1 IPV6=2001:db8::1"},
		{"port", "10.0.0.1", "", 80, "IPV4=10.0.0.1 PORT=80"},
		{"no address", "", "", 0, ""},
	} {
		row := &task.Task{Region: "eu-west-1", Cluster: "default", Service: "web", Family: "family"}
		if tc.address != "" {
			row.Observed.Address = netip.MustParseAddr(tc.address)
		}
		if tc.address6 != "" {
			row.Observed.Address6 = netip.MustParseAddr(tc.address6)
		}
		want := maps.Clone(always)
		for word := range strings.FieldsSeq(tc.want) {
			key, value, _ := strings.Cut(word, "=")
			want["AWS_INSTANCE_"+key] = value
		}
		if got := instanceAttributes(row, task.Registry{Port: tc.port}, "b"); !maps.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", tc.name, got, want)
		}
	}
}

func TestInstanceHealth(t *testing.T) {
	for _, tc := range []struct {
		name    string
		checked bool
		health  task.Health
		want    string
	}{
		{"no health check", false, task.HealthUnknown, "HEALTHY"},
		{"health check has not run", true, task.HealthUnknown, "UNHEALTHY"},
		{"health check passed", true, task.HealthHealthy, "HEALTHY"},
		{"health check failed", true, task.HealthUnhealthy, "UNHEALTHY"},
	} {
		row := &task.Task{Checked: tc.checked, Observed: task.Observed{Health: tc.health}}
		if got := string(instanceHealth(row)); got != tc.want {
			t.Errorf("%s: instanceHealth = %s, want %s", tc.name, got, tc.want)
		}
	}
}
