package ecs_test

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/engineopts"
	"github.com/bakingclouds/rollcall/internal/task"
)

// absent are the members of a container that no runtime here has.
var absent = []string{"ResourceRequirements", "FirelensConfiguration", "CredentialSpecs"}

// full is a definition with every other member that there is, and with everything that AWS would fill in.
func full(t *testing.T) *sdk.RegisterTaskDefinitionInput {
	t.Helper()
	body, err := os.ReadFile("testdata/full.json")
	if err != nil {
		t.Fatal(err)
	}
	in := new(sdk.RegisterTaskDefinitionInput)
	if err := awsapi.LowerCamel.Decode(body, in); err != nil {
		t.Fatal(err)
	}
	c := reflect.ValueOf(in.ContainerDefinitions[0])
	for i := range c.NumField() {
		if f := c.Type().Field(i); f.IsExported() && c.Field(i).IsZero() != slices.Contains(absent, f.Name) {
			t.Errorf("testdata/full.json: %s of a container is absent: %v", f.Name, c.Field(i).IsZero())
		}
	}
	return in
}

// compareDefinition holds what was read back against what was sent, member by member.
func compareDefinition(t *testing.T, sent *sdk.RegisterTaskDefinitionInput, got *types.TaskDefinition) {
	t.Helper()
	in, out := reflect.ValueOf(sent).Elem(), reflect.ValueOf(got).Elem()
	for i := range in.NumField() {
		f := in.Type().Field(i)
		if !f.IsExported() || f.Name == "Tags" {
			continue
		}
		if d := diff(in.Field(i).Interface(), out.FieldByName(f.Name).Interface()); d != "" {
			t.Errorf("%s (-sent +read back):\n%s", f.Name, d)
		}
	}
}

// TestRoundTrip: what is complete comes back as it was sent, and what comes back can be sent again.
func TestRoundTrip(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	in := full(t)
	in.Tags = []types.Tag{{Key: aws.String("team"), Value: aws.String("blue")}}
	registered := apitest.Must(w.RegisterTaskDefinition(ctx, in))(t)
	compareDefinition(t, in, registered.TaskDefinition)
	if d := diff(in.Tags, registered.Tags); d != "" {
		t.Errorf("tags of the answer (-want +got):\n%s", d)
	}

	read := apitest.Must(w.DescribeTaskDefinition(ctx, &sdk.DescribeTaskDefinitionInput{
		TaskDefinition: aws.String("everything")}))(t)
	got := read.TaskDefinition
	compareDefinition(t, in, got)
	if d := diff(registered.TaskDefinition, got); d != "" {
		t.Errorf("RegisterTaskDefinition and DescribeTaskDefinition differ:\n%s", d)
	}
	if read.Tags == nil || len(read.Tags) != 0 {
		t.Errorf("tags that were not asked for: %v", read.Tags)
	}
	if *got.TaskDefinitionArn != arns+"task-definition/everything:1" || got.Revision != 1 || got.Status != "ACTIVE" ||
		!got.RegisteredAt.Equal(epoch.Add(time.Second)) || *got.RegisteredBy != "arn:aws:iam::"+account+":root" {
		t.Errorf("computed members: %v %v %v %v %v", *got.TaskDefinitionArn, got.Revision, got.Status, got.RegisteredAt,
			*got.RegisteredBy)
	}

	again := &sdk.RegisterTaskDefinitionInput{}
	from, to := reflect.ValueOf(got).Elem(), reflect.ValueOf(again).Elem()
	for i := range to.NumField() {
		if f := to.Type().Field(i); f.IsExported() && f.Name != "Tags" {
			to.Field(i).Set(from.FieldByName(f.Name))
		}
	}
	second := apitest.Must(w.RegisterTaskDefinition(ctx, again))(t)
	compareDefinition(t, again, second.TaskDefinition)
	if second.TaskDefinition.Revision != 2 {
		t.Errorf("the second revision is %d", second.TaskDefinition.Revision)
	}
}

// TestFilledIn: of the least definition, exactly what AWS fills in is added.
func TestFilledIn(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	for _, tc := range []struct {
		mode          types.NetworkMode
		hostPort      int32
		compatibility string
	}{
		{"", 0, "[EXTERNAL EC2]"},
		{types.NetworkModeBridge, 0, "[EXTERNAL EC2]"},
		{types.NetworkModeHost, 80, "[EXTERNAL EC2]"},
		{types.NetworkModeAwsvpc, 80, "[EC2 MANAGED_INSTANCES FARGATE]"},
	} {
		t.Run("mode "+string(tc.mode), func(t *testing.T) {
			got := apitest.Must(w.RegisterTaskDefinition(ctx, &sdk.RegisterTaskDefinitionInput{
				Family: aws.String("web"), NetworkMode: tc.mode, Cpu: aws.String(".25 vCPU"), Memory: aws.String("0.5 GB"),
				ContainerDefinitions: []types.ContainerDefinition{{
					Name: aws.String("app"), Image: aws.String("i"),
					PortMappings: []types.PortMapping{{ContainerPort: aws.Int32(80)}},
					HealthCheck:  &types.HealthCheck{Command: []string{"CMD", "true"}},
				}},
			}))(t).TaskDefinition
			want := &types.TaskDefinition{
				TaskDefinitionArn: got.TaskDefinitionArn, Family: aws.String("web"), Revision: got.Revision, Status: "ACTIVE",
				RegisteredAt: got.RegisteredAt, RegisteredBy: got.RegisteredBy, RequiresAttributes: got.RequiresAttributes,
				Compatibilities: got.Compatibilities, NetworkMode: tc.mode, Cpu: aws.String("256"), Memory: aws.String("512"),
				Volumes: []types.Volume{}, PlacementConstraints: []types.TaskDefinitionPlacementConstraint{},
				ContainerDefinitions: []types.ContainerDefinition{{
					Name: aws.String("app"), Image: aws.String("i"), Essential: aws.Bool(true),
					PortMappings: []types.PortMapping{{ContainerPort: aws.Int32(80), HostPort: aws.Int32(tc.hostPort),
						Protocol: "tcp"}},
					HealthCheck: &types.HealthCheck{Command: []string{"CMD", "true"}, Interval: aws.Int32(30),
						Timeout: aws.Int32(5), Retries: aws.Int32(3)},
					Environment: []types.KeyValuePair{}, MountPoints: []types.MountPoint{}, VolumesFrom: []types.VolumeFrom{},
					SystemControls: []types.SystemControl{},
				}},
			}
			if d := diff(want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if s := fmt.Sprint(got.Compatibilities); s != tc.compatibility {
				t.Errorf("compatibilities %s, want %s", s, tc.compatibility)
			}
		})
	}
}

// TestDefinitionRow: what the loops and agents read has the defaults that hold when a task runs.
func TestDefinitionRow(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	apitest.Must(w.RegisterTaskDefinition(ctx, full(t)))(t)
	w.definition("web", "", 80)
	row := apitest.Must(task.GetDefinition(w.db.Snapshot(), w.sc, "web", 0))(t)
	if row.NetworkMode != "bridge" || row.Unmet != "" {
		t.Errorf("mode %s, unmet %q", row.NetworkMode, row.Unmet)
	}
	want := task.ContainerDefinition{
		Name: "app", Image: "sample", Essential: true, StopTimeout: 30 * time.Second, Memory: 64,
		Ports: []task.PortMapping{{ContainerPort: 80, Protocol: "tcp"}},
	}
	if d := diff(want, row.Containers[0]); d != "" {
		t.Errorf("the least container (-want +got):\n%s", d)
	}
	row = apitest.Must(task.GetDefinition(w.db.Snapshot(), w.sc, "everything", 1))(t)
	want = task.ContainerDefinition{
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
	if d := diff(want, row.Containers[0]); d != "" {
		t.Errorf("the full container (-want +got):\n%s", d)
	}
	options := engineopts.Task{PID: "task", IPC: "none", Volumes: []engineopts.Volume{
		{Name: "host", HostPath: "/srv"}, {Name: "anonymous"},
		{Name: "docker", Shared: true, Create: true, Driver: "local", DriverOpts: map[string]string{"type": "tmpfs"},
			Labels: map[string]string{"a": "b"}},
		{Name: "efs"},
	}}
	if d := diff(options, row.Options); d != "" {
		t.Errorf("the task's options (-want +got):\n%s", d)
	}
	if !strings.HasPrefix(row.Unmet, "ResourceInitializationError: this server has no EFS for the volume efs") {
		t.Errorf("unmet: %q", row.Unmet)
	}
}

// TestDefinitionRowOf looks at what one member makes of a container's row.
func TestDefinitionRowOf(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	for _, tc := range []struct {
		name, mode string
		c          types.ContainerDefinition
		got        func(task.ContainerDefinition) any
		want       any
	}{
		{"awslogs is no engine's driver", "", types.ContainerDefinition{LogConfiguration: &types.LogConfiguration{
			LogDriver: "awslogs", Options: map[string]string{"awslogs-region": "r", "awslogs-group": "g"}}},
			func(c task.ContainerDefinition) any { return c.Options }, engineopts.Container{}},
		{"a policy that is not enabled", "", types.ContainerDefinition{RestartPolicy: &types.ContainerRestartPolicy{
			Enabled: aws.Bool(false)}},
			func(c task.ContainerDefinition) any { return c.Options.Restart }, (*engineopts.RestartPolicy)(nil)},
		{"a policy's period", "", types.ContainerDefinition{RestartPolicy: &types.ContainerRestartPolicy{
			Enabled: aws.Bool(true)}},
			func(c task.ContainerDefinition) any { return c.Options.Restart.Period }, 5 * time.Minute},
		{"links and volumes need the other container", "",
			types.ContainerDefinition{Links: []string{"b:x"},
				VolumesFrom: []types.VolumeFrom{{SourceContainer: aws.String("b")}}},
			func(c task.ContainerDefinition) any { return c.DependsOn },
			[]task.Dependency{{Container: "b", Condition: "START"}}},
		{"a range in host mode", "host", types.ContainerDefinition{PortMappings: []types.PortMapping{
			{ContainerPortRange: aws.String("80-81"), Protocol: "udp"}}},
			func(c task.ContainerDefinition) any { return c.Ports },
			[]task.PortMapping{{ContainerPort: 80, HostPort: 80, Protocol: "udp"},
				{ContainerPort: 81, HostPort: 81, Protocol: "udp"}}},
		{"a range in awsvpc mode", "awsvpc", types.ContainerDefinition{PortMappings: []types.PortMapping{
			{ContainerPortRange: aws.String("1-65535")}}},
			func(c task.ContainerDefinition) any { return c.Ports }, []task.PortMapping(nil)},
		{"a device with all rights", "", types.ContainerDefinition{LinuxParameters: &types.LinuxParameters{
			Devices: []types.Device{{HostPath: aws.String("/dev/fuse")}}}},
			func(c task.ContainerDefinition) any { return c.Options.Devices }, []engineopts.Device{{Host: "/dev/fuse"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.c.Name, tc.c.Image = aws.String("a"), aws.String("i")
			apitest.Must(w.RegisterTaskDefinition(ctx, &sdk.RegisterTaskDefinitionInput{
				Family: aws.String("one"), Memory: aws.String("64"), NetworkMode: types.NetworkMode(tc.mode),
				ContainerDefinitions: []types.ContainerDefinition{tc.c, {Name: aws.String("b"), Image: aws.String("i")}},
			}))(t)
			if d := diff(tc.want, tc.got(apitest.Must(task.GetDefinition(w.db.Snapshot(), w.sc, "one", 0))(
				t).Containers[0])); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestRequiredAttributes(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	out := apitest.Must(w.RegisterTaskDefinition(ctx, full(t)))(t)
	var names []string
	for _, a := range out.TaskDefinition.RequiresAttributes {
		names = append(names, *a.Name)
	}
	want := []string{
		"com.amazonaws.ecs.capability.task-iam-role", "ecs.capability.pid-ipc-namespace-sharing",
		"ecs.capability.docker-volume-driver.local", "ecs.capability.efs", "ecs.capability.container-health-check",
		"ecs.capability.container-ordering", "com.amazonaws.ecs.capability.logging-driver.splunk",
		"ecs.capability.secrets.asm.environment-variables", "ecs.capability.env-files.s3",
		"ecs.capability.container-restart-policy", "ecs.capability.network.container-port-range",
	}
	if d := diff(want, names); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestDeregister: an inactive revision is described by its number, not by its family, and its number is
// never used again.
func TestDeregister(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.definition("web", "")
	w.definition("web", "")
	deregister := func(id string) (*sdk.DeregisterTaskDefinitionOutput, error) {
		return w.DeregisterTaskDefinition(ctx, &sdk.DeregisterTaskDefinitionInput{TaskDefinition: &id})
	}
	describe := func(id string) string {
		out, err := w.DescribeTaskDefinition(ctx, &sdk.DescribeTaskDefinitionInput{TaskDefinition: &id})
		if err != nil {
			return errorText(err)
		}
		return fmt.Sprintf("%d %s", out.TaskDefinition.Revision, out.TaskDefinition.Status)
	}
	expect := func(id, want string) {
		t.Helper()
		if got := describe(id); got != want {
			t.Errorf("DescribeTaskDefinition %s = %s, want %s", id, got, want)
		}
	}
	expect("web", "2 ACTIVE")
	for range 2 { // a repeat answers alike
		if d := apitest.Must(deregister("web:2"))(t).TaskDefinition; d.Status != "INACTIVE" || d.DeregisteredAt == nil {
			t.Errorf("DeregisterTaskDefinition: %s at %v", d.Status, d.DeregisteredAt)
		}
	}
	expect("web", "1 ACTIVE")
	expect("web:2", "2 INACTIVE")
	expect(arns+"task-definition/web:2", "2 INACTIVE")
	expect("arn:aws:ecs:us-east-1:"+account+":task-definition/web:2", "Client: Unable to describe task definition.")
	apitest.Must(deregister(arns + "task-definition/web:1"))(t)
	expect("web", "Client: Unable to describe task definition.")
	expect("web:3", "Client: Unable to describe task definition.")
	if got := w.definition("web", ""); got != arns+"task-definition/web:3" {
		t.Errorf("the next revision is %s", got)
	}
	for id, want := range map[string]string{
		"web":    "Client: Revision is missing.",
		"web:0":  "InvalidParameter: Invalid revision number. Number: 0",
		"web:x":  "InvalidParameter: Invalid revision number. Number: x",
		"none:1": "Client: Unable to describe task definition.",
	} {
		wantError(deregister(id))(t, want)
	}
}

func TestListDefinitions(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	for _, family := range []string{"web", "web-api", "web", "job"} {
		w.definition(family, "")
	}
	for range 9 {
		w.definition("web-api", "") // a tenth revision, which sorts behind the ninth
	}
	for _, id := range []string{"job:1", "web-api:4"} {
		apitest.Must(w.DeregisterTaskDefinition(ctx, &sdk.DeregisterTaskDefinitionInput{TaskDefinition: aws.String(id)}))(t)
	}
	definitions := func(in sdk.ListTaskDefinitionsInput) string {
		var names []string
		pages := sdk.NewListTaskDefinitionsPaginator(w, &in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return errorText(err)
			}
			for _, arn := range page.TaskDefinitionArns {
				names = append(names, strings.TrimPrefix(arn, arns+"task-definition/"))
			}
		}
		return strings.Join(names, " ")
	}
	const api = "web-api:1 web-api:2 web-api:3 web-api:5 web-api:6 web-api:7 web-api:8 web-api:9 web-api:10"
	for _, tc := range []struct {
		name string
		in   sdk.ListTaskDefinitionsInput
		want string
	}{
		{"all", sdk.ListTaskDefinitionsInput{}, "web:1 web:2 " + api},
		{"in pages", sdk.ListTaskDefinitionsInput{MaxResults: aws.Int32(1)}, "web:1 web:2 " + api},
		{"a whole family name", sdk.ListTaskDefinitionsInput{FamilyPrefix: aws.String("web")}, "web:1 web:2"},
		{"no prefix of one", sdk.ListTaskDefinitionsInput{FamilyPrefix: aws.String("we")}, ""},
		{"newest first", sdk.ListTaskDefinitionsInput{FamilyPrefix: aws.String("web"), Sort: "DESC",
			MaxResults: aws.Int32(1)}, "web:2 web:1"},
		{"inactive", sdk.ListTaskDefinitionsInput{Status: "INACTIVE"}, "job:1 web-api:4"},
		{"inactive, newest first", sdk.ListTaskDefinitionsInput{Status: "INACTIVE", Sort: "DESC"}, "web-api:4 job:1"},
		{"being deleted", sdk.ListTaskDefinitionsInput{Status: "DELETE_IN_PROGRESS"}, ""},
		{"no status", sdk.ListTaskDefinitionsInput{Status: "GONE"},
			"InvalidParameter: status should be one of [ACTIVE,INACTIVE,DELETE_IN_PROGRESS]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := definitions(tc.in); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
	families := func(in sdk.ListTaskDefinitionFamiliesInput) string {
		var names []string
		in.MaxResults = aws.Int32(1)
		pages := sdk.NewListTaskDefinitionFamiliesPaginator(w, &in)
		for pages.HasMorePages() {
			names = append(names, apitest.Must(pages.NextPage(ctx))(t).Families...)
		}
		return strings.Join(names, " ")
	}
	for _, tc := range []struct {
		in   sdk.ListTaskDefinitionFamiliesInput
		want string
	}{
		{sdk.ListTaskDefinitionFamiliesInput{}, "job web web-api"},
		{sdk.ListTaskDefinitionFamiliesInput{Status: "ALL"}, "job web web-api"},
		{sdk.ListTaskDefinitionFamiliesInput{Status: "ACTIVE"}, "web web-api"},
		{sdk.ListTaskDefinitionFamiliesInput{Status: "INACTIVE"}, "job"},
		{sdk.ListTaskDefinitionFamiliesInput{FamilyPrefix: aws.String("we")}, "web web-api"},
	} {
		if got := families(tc.in); got != tc.want {
			t.Errorf("families %v: %s, want %s", tc.in, got, tc.want)
		}
	}
}

// TestTooLarge: a definition beyond AWS's 64 KiB is refused before it is written.
func TestTooLarge(t *testing.T) {
	w := newWorld(t)
	wantError(w.RegisterTaskDefinition(t.Context(), &sdk.RegisterTaskDefinitionInput{
		Family: aws.String("web"), ContainerDefinitions: []types.ContainerDefinition{{
			Name: aws.String("app"), Image: aws.String("i"), Memory: aws.Int32(64),
			Command: []string{strings.Repeat("x", 64<<10)},
		}},
	}))(t, "Client: The task definition has 65...")
}
