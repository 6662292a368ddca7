package taskdef

import (
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bakingclouds/rollcall/internal/task"
)

const twoContainers = `{"family":"web","networkMode":"awsvpc","cpu":"256","memory":"512","containerDefinitions":[
	{"name":"app","image":"i","command":["serve"],"environment":[{"name":"A","value":"1"},{"name":"B","value":"1"}]},
	{"name":"log","image":"i","cpu":64}]}`

// TestNewOverrides checks the rows of overrides of the definition twoContainers.
func TestNewOverrides(t *testing.T) {
	for _, tc := range []struct {
		name, overrides string
		launchType      types.LaunchType
		want            *task.Overrides
		err             string
	}{
		{"absent", `null`, "", nil, ""},
		{"names only", `{"containerOverrides":[{"name":"app"},{"name":"log"}]}`, "", nil, ""},
		{"size in words", `{"cpu":".5 vCPU","memory":"1 GB"}`, "", &task.Overrides{CPU: 512, Memory: 1024}, ""},
		{"roles", `{"taskRoleArn":"t",` +
			`"executionRoleArn":"e"}`, "", &task.Overrides{TaskRole: "t", ExecutionRole: "e"}, ""},
		{"container", `{"containerOverrides":[{"name":"app","command":["work"],"cpu":1,"memory":100,"memoryReservation":50,
			"environment":[{"name":"A","value":"2"}]}]}`, "",
			&task.Overrides{Containers: map[string]task.ContainerOverride{"app": {
				Command: []string{"work"}, CPU: 1, Memory: 100, MemoryReservation: 50, Environment: map[string]string{"A": "2"},
			}}}, ""},
		{"two for one container", `{"containerOverrides":[{"name":"log","cpu":1,"memory":100},{"name":"log",` +
			`"cpu":2}]}`, "",
			&task.Overrides{Containers: map[string]task.ContainerOverride{"log": {CPU: 2, Memory: 100}}}, ""},
		{"unknown container", `{"containerOverrides":[{"name":"db","cpu":1}]}`, "", nil,
			"InvalidParameter: Override for container named db is not a container in the TaskDefinition."},
		{"invalid size", `{"cpu":"many"}`, "", nil, "InvalidParameter: Invalid 'cpu' setting for task."},
		{"container larger than the task", `{"containerOverrides":[{"name":"app","memory":513}]}`, "", nil,
			"The 'memory' setting for container 'app' is greater than for the task"},
		{"size that Fargate does not have",
			`{"memory":"4096"}`, types.LaunchTypeFargate, nil, "No Fargate configuration " +
				"exists for given values: 256 CPU, 4096 memory. See the Amazon ECS documentation for the valid values."},
		{"size that only EC2 has", `{"memory":"4096"}`, types.LaunchTypeEc2, &task.Overrides{Memory: 4096}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var overrides *types.TaskOverride
			if tc.overrides != "null" {
				overrides = decode[types.TaskOverride](t, tc.overrides)
			}
			got, err := NewOverrides(decode[Request](t, twoContainers), overrides, tc.launchType)
			if s := errorText(err); s != tc.err {
				t.Fatalf("got  %s\nwant %s", s, tc.err)
			}
			if d := cmp.Diff(tc.want, got, cmpopts.IgnoreFields(task.Overrides{}, "Sent")); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestApplyOverrides checks that a task runs the overridden definition and that the definition itself stays as it is.
func TestApplyOverrides(t *testing.T) {
	def := decode[Request](t, twoContainers)
	got, err := ApplyOverrides(def, decode[types.TaskOverride](t, `{"memory":"1024","containerOverrides":[
		{"name":"app","command":["work"],"environment":[{"name":"B","value":"2"}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	describe := func(in *Request) string {
		app := in.ContainerDefinitions[0]
		return fmt.Sprint(*in.Cpu, " ", *in.Memory, " ", app.Command, " ", environmentRow(app.Environment))
	}
	if s, want := describe(got), "256 1024 [work] map[A:1 B:2]"; s != want {
		t.Errorf("with overrides %s, want %s", s, want)
	}
	if s, want := describe(def), "256 512 [serve] map[A:1 B:1]"; s != want {
		t.Errorf("the definition is now %s, want %s", s, want)
	}
}

func TestCheckOverrides(t *testing.T) {
	long := make([]types.KeyValuePair, 300)
	for i := range long {
		long[i] = types.KeyValuePair{Name: aws.String(fmt.Sprint(i)), Value: aws.String("0123456789")}
	}
	for _, tc := range []struct {
		name      string
		overrides *types.TaskOverride
		want      string
	}{
		{"absent", nil, ""},
		{"empty name", &types.TaskOverride{ContainerOverrides: []types.ContainerOverride{{Name: aws.String("")}}},
			"InvalidParameter: The name of a container override can not be blank."},
		{"too large",
			&types.TaskOverride{ContainerOverrides: []types.ContainerOverride{{Name: aws.String("a"), Environment: long}}},
			"InvalidParameter: The overrides have 10743 characters; at most 8192 are allowed."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := errorText(CheckOverrides(tc.overrides)); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

// TestRenderOverrides checks that every container of the definition is listed.
func TestRenderOverrides(t *testing.T) {
	view := RenderOverrides(decode[Request](t, twoContainers),
		decode[types.TaskOverride](t, `{"containerOverrides":[{"name":"log","cpu":2}]}`))
	got := ""
	for _, c := range view.ContainerOverrides {
		got += fmt.Sprintf("%s:%d ", *c.Name, aws.ToInt32(c.Cpu))
	}
	if want := "app:0 log:2 "; got != want {
		t.Errorf("overrides of containers %q, want %q", got, want)
	}
}
