package taskdef

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/bakingclouds/rollcall/internal/engineopts"
	"github.com/bakingclouds/rollcall/internal/task"
)

// unsupported are the members of a container that no runtime supports.
var unsupported = []string{"ResourceRequirements", "FirelensConfiguration", "CredentialSpecs"}

// fullRequest returns a request with all members of a container except those that no runtime supports.
func fullRequest(t *testing.T) *Request {
	t.Helper()
	body, err := os.ReadFile("testdata/full.json")
	if err != nil {
		t.Fatal(err)
	}
	in := decode[Request](t, string(body))
	c := reflect.ValueOf(in.ContainerDefinitions[0])
	for i := range c.NumField() {
		if f := c.Type().Field(i); f.IsExported() && c.Field(i).IsZero() != slices.Contains(unsupported, f.Name) {
			t.Errorf("testdata/full.json: %s of a container is absent: %v", f.Name, c.Field(i).IsZero())
		}
	}
	return in
}

// checked returns a request that has passed Check.
func checked(t *testing.T, in *Request) *Request {
	t.Helper()
	if err := Check(in); err != nil {
		t.Fatal(err)
	}
	return in
}

// TestNewRowDefaults checks the row of a container that has only the required members.
func TestNewRowDefaults(t *testing.T) {
	row := NewRow(checked(t, decode[Request](t, `{"family":"web","containerDefinitions":[
		{"name":"app","image":"sample","memory":64,"portMappings":[{"containerPort":80}]}]}`)))
	if row.NetworkMode != "bridge" || row.Unmet != "" {
		t.Errorf("network mode %s, unmet %q", row.NetworkMode, row.Unmet)
	}
	want := task.ContainerDefinition{
		Name: "app", Image: "sample", Essential: true, StopTimeout: 30 * time.Second, Memory: 64,
		Ports: []task.PortMapping{{ContainerPort: 80, Protocol: "tcp"}},
	}
	if d := cmp.Diff(want, row.Containers[0]); d != "" {
		t.Errorf("container (-want +got):\n%s", d)
	}
}

// TestNewRow checks the row of a definition with all members.
func TestNewRow(t *testing.T) {
	row := NewRow(checked(t, fullRequest(t)))
	want := task.ContainerDefinition{
		Name: "app", Image: "registry.example/app:1.2", Essential: true,
		EntryPoint: []string{"/bin/app"}, Command: []string{"serve", "--port=80"},
		Environment: map[string]string{"A": "1", "B": "3"}, WorkingDirectory: "/srv", User: "1000:1000",
		Ports: []task.PortMapping{
			{Name: "http", ContainerPort: 80, HostPort: 8080, Protocol: "tcp"}, {ContainerPort: 53, Protocol: "udp"},
			{ContainerPort: 9000, Protocol: "tcp"}, {ContainerPort: 9001, Protocol: "tcp"},
		},
		HealthCheck: &task.HealthCheck{
			Command:  []string{"CMD-SHELL", "curl -f http://localhost/ || exit 1"},
			Interval: 10 * time.Second, Timeout: 4 * time.Second, Retries: 2,
		},
		DependsOn:        []task.Dependency{{Container: "log", Condition: "HEALTHY"}},
		StopTimeout:      15 * time.Second,
		Secrets:          []task.Secret{{Name: "TOKEN", From: "arn:aws:secretsmanager:eu-west-1:123456789012:secret:token"}},
		EnvironmentFiles: []string{"arn:aws:s3:::bucket/app.env"},
		CPU:              256, Memory: 512, MemoryReservation: 256,
		Ulimits: []task.Ulimit{{Name: "nofile", Soft: 1024, Hard: 4096}},
		Options: engineopts.Container{
			Mounts:       []engineopts.Mount{{Volume: "host", Path: "/srv", ReadOnly: true}},
			VolumesFrom:  []engineopts.VolumesFrom{{Container: "log"}},
			ReadonlyRoot: true, Interactive: true, TTY: true, Hostname: "app-1",
			DNS: []string{"10.0.0.2"}, DNSSearch: []string{"corp"}, ExtraHosts: []string{"db:10.0.0.9"},
			Links:  []string{"log:syslog"},
			Labels: map[string]string{"traefik.enable": "true"}, SecurityOpt: []string{"no-new-privileges"},
			Sysctls: map[string]string{"net.core.somaxconn": "1024"}, CapAdd: []string{"NET_ADMIN"}, CapDrop: []string{"ALL"},
			Devices: []engineopts.Device{{Host: "/dev/fuse", Container: "/dev/fuse", Permissions: "rw"}},
			Init:    true, ShmMiB: 64, Tmpfs: map[string]string{"/tmp": "size=16m,noexec"}, MaxSwapMiB: aws.Int(128),
			Swappiness: aws.Int(10),
			LogDriver:  "splunk", LogOptions: map[string]string{"splunk-url": "https://logs.example"},
			LogSecrets:   map[string]string{"splunk-token": "splunk"},
			Login:        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:registry",
			StartTimeout: time.Minute, Restart: &engineopts.RestartPolicy{Ignored: []int{0}, Period: 3 * time.Minute},
		},
	}
	if d := cmp.Diff(want, row.Containers[0]); d != "" {
		t.Errorf("container (-want +got):\n%s", d)
	}
	options := engineopts.Task{PID: "task", IPC: "none", Volumes: []engineopts.Volume{
		{Name: "host", HostPath: "/srv"}, {Name: "anonymous"},
		{Name: "docker", Shared: true, Create: true, Driver: "local", DriverOpts: map[string]string{"type": "tmpfs"},
			Labels: map[string]string{"a": "b"}},
		{Name: "efs"},
	}}
	if d := cmp.Diff(options, row.Options); d != "" {
		t.Errorf("options of the task (-want +got):\n%s", d)
	}
	if !strings.HasPrefix(row.Unmet, "ResourceInitializationError: this server has no EFS for the volume efs") {
		t.Errorf("unmet: %q", row.Unmet)
	}
}

// TestContainerRow checks single members of a container and of its row.
func TestContainerRow(t *testing.T) {
	for _, tc := range []struct {
		name, mode string
		c          types.ContainerDefinition
		got        func(task.ContainerDefinition) any
		want       any
	}{
		{"awslogs is not an engine's driver", "", types.ContainerDefinition{LogConfiguration: &types.LogConfiguration{
			LogDriver: "awslogs", Options: map[string]string{"awslogs-region": "r", "awslogs-group": "g"}}},
			func(c task.ContainerDefinition) any { return c.Options }, engineopts.Container{}},
		{"disabled restart policy", "", types.ContainerDefinition{RestartPolicy: &types.ContainerRestartPolicy{
			Enabled: aws.Bool(false)}},
			func(c task.ContainerDefinition) any { return c.Options.Restart }, (*engineopts.RestartPolicy)(nil)},
		{"default restart period", "", types.ContainerDefinition{RestartPolicy: &types.ContainerRestartPolicy{
			Enabled: aws.Bool(true)}},
			func(c task.ContainerDefinition) any { return c.Options.Restart.Period }, 5 * time.Minute},
		{"link and volumes of another container", "",
			types.ContainerDefinition{Links: []string{"b:x"},
				VolumesFrom: []types.VolumeFrom{{SourceContainer: aws.String("b")}}},
			func(c task.ContainerDefinition) any { return c.DependsOn },
			[]task.Dependency{{Container: "b", Condition: "START"}}},
		{"port range in host mode", "host", types.ContainerDefinition{PortMappings: []types.PortMapping{
			{ContainerPortRange: aws.String("80-81"), Protocol: "udp"}}},
			func(c task.ContainerDefinition) any { return c.Ports },
			[]task.PortMapping{{ContainerPort: 80, HostPort: 80, Protocol: "udp"},
				{ContainerPort: 81, HostPort: 81, Protocol: "udp"}}},
		{"port range in awsvpc mode", "awsvpc", types.ContainerDefinition{PortMappings: []types.PortMapping{
			{ContainerPortRange: aws.String("1-65535")}}},
			func(c task.ContainerDefinition) any { return c.Ports }, []task.PortMapping(nil)},
		{"device without permissions", "", types.ContainerDefinition{LinuxParameters: &types.LinuxParameters{
			Devices: []types.Device{{HostPath: aws.String("/dev/fuse")}}}},
			func(c task.ContainerDefinition) any { return c.Options.Devices }, []engineopts.Device{{Host: "/dev/fuse"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.c.Name, tc.c.Image = aws.String("a"), aws.String("i")
			row := NewRow(checked(t, &Request{
				Family: aws.String("one"), Memory: aws.String("64"), NetworkMode: types.NetworkMode(tc.mode),
				ContainerDefinitions: []types.ContainerDefinition{
					tc.c, {Name: aws.String("b"), Image: aws.String("i")},
				},
			}))
			if d := cmp.Diff(tc.want, tc.got(row.Containers[0])); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestRequiredAttributes(t *testing.T) {
	var names []string
	for _, a := range requiredAttributes(fullRequest(t)) {
		names = append(names, *a.Name)
	}
	want := []string{
		"com.amazonaws.ecs.capability.task-iam-role", "ecs.capability.pid-ipc-namespace-sharing",
		"ecs.capability.docker-volume-driver.local", "ecs.capability.efs", "ecs.capability.container-health-check",
		"ecs.capability.container-ordering", "com.amazonaws.ecs.capability.logging-driver.splunk",
		"ecs.capability.secrets.asm.environment-variables", "ecs.capability.env-files.s3",
		"ecs.capability.container-restart-policy", "ecs.capability.network.container-port-range",
	}
	if d := cmp.Diff(want, names); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
