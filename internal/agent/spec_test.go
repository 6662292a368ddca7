package agent

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/engineopts"
	"github.com/bakingclouds/rollcall/internal/task"
)

// capable is a runtime that has only capabilities.
type capable struct {
	Runtime
	can Capabilities
}

func (c capable) Capabilities() Capabilities { return c.can }

// TestSpec checks that a definition reaches the runtime, and that only a runtime with images gets the secrets for them.
func TestSpec(t *testing.T) {
	secrets := filepath.Join(t.TempDir(), "secrets")
	write(t, 0o600, `{"username":"ada","password":"hunter2"}`, secrets, "registry")
	write(t, 0o600, "t0ken", secrets, "splunk")
	def := &task.Definition{
		NetworkMode: "bridge", CPU: 512, Memory: 1024,
		Options: engineopts.Task{PID: "host", Volumes: []engineopts.Volume{{Name: "v"}}},
		Containers: []task.ContainerDefinition{{
			Name: "app", Image: "i", CPU: 256, Memory: 512, MemoryReservation: 128,
			Ulimits: []task.Ulimit{{Name: "nofile", Soft: 1, Hard: 2}},
			Options: engineopts.Container{
				Hostname: "h", Login: "registry", LogDriver: "splunk",
				LogOptions: map[string]string{"splunk-url": "u"}, LogSecrets: map[string]string{"splunk-token": "splunk"},
			},
		}},
	}
	row := &task.Task{ID: "t", Account: "000000000000", Region: "eu-west-1", Cluster: "default", Family: "web",
		Revision: 3}
	for _, images := range []bool{false, true} {
		t.Run(fmt.Sprintf("images %t", images), func(t *testing.T) {
			a := &Agent{Config: Config{Secrets: SecretResolver{Secrets: secrets}},
				rt: capable{can: Capabilities{Images: images}}}
			spec, err := a.spec(row, def)
			if err != nil {
				t.Fatal(err)
			}
			want := TaskSpec{
				ID: "t", NetworkMode: "bridge", Group: "eu-west-1/default/" + row.Group(),
				Labels: map[string]string{
					"com.amazonaws.ecs.cluster": "default", "com.amazonaws.ecs.task-arn": row.ARN(),
					"com.amazonaws.ecs.task-definition-family": "web", "com.amazonaws.ecs.task-definition-version": "3",
				},
				Options: engineopts.Task{CPU: 512, Memory: 1024, PID: "host", Volumes: def.Options.Volumes},
				Containers: []ContainerSpec{{
					Name: "app", Image: "i", Env: map[string]string{}, CPU: 256, Memory: 512, Reservation: 128,
					Ulimits: []Ulimit{{Name: "nofile", Soft: 1, Hard: 2}}, Options: def.Containers[0].Options,
				}},
			}
			if c := &want.Containers[0]; images {
				c.Login = &Login{Username: "ada", Password: "hunter2"}
				c.Options.LogOptions, c.Options.LogSecrets = map[string]string{"splunk-url": "u", "splunk-token": "t0ken"}, nil
			}
			if !reflect.DeepEqual(spec, want) {
				t.Errorf("spec %+v\nwant %+v", spec, want)
			}
			if len(def.Containers[0].Options.LogOptions) != 1 {
				t.Error("spec changed the definition")
			}
			kept, err := json.Marshal(spec)
			if err != nil || strings.Contains(string(kept)+fmt.Sprintf("%+v %#v", spec.Containers[0].Login,
				spec.Containers[0].Login), "hunter2") {
				t.Errorf("the spec contains the registry's password: %s, %v", kept, err)
			}
		})
	}
}

// TestLogin checks that a missing or invalid login fails a task whose runtime has images, and no other.
func TestLogin(t *testing.T) {
	secrets := t.TempDir()
	for name, text := range map[string]string{"text": "hunter2", "half": `{"username":"ada"}`,
		"numbers": `{"username":"ada","password":7}`} {
		write(t, 0o600, text, secrets, name)
	}
	for from, wrong := range map[string]string{
		"none": "ResourceNotFoundException", "text": "must be a JSON object", "half": "must be a JSON object",
		"numbers": "must be a JSON object",
	} {
		def := &task.Definition{Containers: []task.ContainerDefinition{{Name: "app",
			Options: engineopts.Container{Login: from}}}}
		a := &Agent{Config: Config{Secrets: SecretResolver{Secrets: secrets}}, rt: capable{can: Capabilities{Images: true}}}
		_, err := a.spec(&task.Task{ID: "t"}, def)
		if err == nil || !strings.Contains(err.Error(),
			"ResourceInitializationError: unable to pull secrets or registry auth: ") ||
			!strings.Contains(err.Error(), wrong) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", from, err, wrong)
		}
		a.rt = capable{}
		if _, err := a.spec(&task.Task{ID: "t"}, def); err != nil {
			t.Errorf("%s, without images: %v", from, err)
		}
	}
}

// TestDependencies checks each condition against the states that a dependency can be in. The dependency started at
// noon, with a startTimeout of a minute or without one.
func TestDependencies(t *testing.T) {
	for _, tc := range []struct {
		condition string
		sandbox   string // of db, in the notation of parseSandbox
		timeout   time.Duration
		after     time.Duration
		want      string
	}{
		{"START", "-", time.Minute, time.Hour, "waits"},
		{"START", "r", 0, 0, "ready"},
		{"START", "0", 0, 0, "ready"},
		{"START", "!", 0, 0, "never: db, which could not be started"},
		{"COMPLETE", "r", 0, time.Hour, "waits"},
		{"COMPLETE", "e", 0, 0, "ready"},
		{"COMPLETE", "r", time.Minute, 20 * time.Second, "waits, 40s"},
		{"COMPLETE", "r", time.Minute, time.Minute, "never: db, which was not COMPLETE within its startTimeout of 1m0s"},
		{"COMPLETE", "e", time.Minute, time.Hour, "ready"},
		{"SUCCESS", "0", 0, 0, "ready"},
		{"SUCCESS", "e", 0, 0, "never: the success of db, which failed"},
		{"SUCCESS", "r", time.Minute, 2 * time.Minute, "never: db, which was not SUCCESS within its startTimeout of 1m0s"},
		{"HEALTHY", "-", time.Minute, time.Hour, "waits"},
		{"HEALTHY", "r", time.Minute, 59 * time.Second, "waits, 1s"},
		{"HEALTHY", "h", time.Minute, time.Hour, "ready"},
		{"HEALTHY", "u", 0, time.Hour, "waits"},
		{"HEALTHY", "u", time.Minute, time.Hour, "never: db, which was not HEALTHY within its startTimeout of 1m0s"},
		{"HEALTHY", "0", 0, 0, "never: the health of db, which has ended"},
	} {
		def := definition()
		def.Containers[0].Options.StartTimeout = tc.timeout
		def.Containers[1].DependsOn[0].Condition = tc.condition
		w := dependencies(def.Containers[1], def, parseSandbox(tc.sandbox), noon.Add(tc.after))
		got := "waits"
		switch {
		case w.never != "":
			got = "never: " + strings.TrimPrefix(w.never, "TaskDependencyError: container app depends on ")
		case w.met:
			got = "ready"
		case w.timeout > 0:
			got = "waits, " + w.timeout.String()
		}
		if got != tc.want {
			t.Errorf("%s of %q after %v: %s, want %s", tc.condition, tc.sandbox, tc.after, got, tc.want)
		}
	}
}

// TestLateDependency checks that a task is rechecked when its dependency exceeds its startTimeout, and then fails.
func TestLateDependency(t *testing.T) {
	def := definition()
	def.Containers[0].Options.StartTimeout = time.Minute
	row := &task.Task{ID: "t", Desired: task.DesiredRunning, Observed: task.Observed{State: task.Pending}}
	s := Next(row, def, parseSandbox("r-r"), noon.Add(10*time.Second))
	if s.RecheckAfter != 50*time.Second || s.StopCode != "" {
		t.Errorf("recheck after %v, %q; want 50s", s.RecheckAfter, s.StopCode)
	}
	s = Next(row, def, parseSandbox("r-r"), noon.Add(10*time.Second+s.RecheckAfter))
	const want = "TaskDependencyError: container app depends on db, " +
		"which was not HEALTHY within its startTimeout of 1m0s"
	if s.StopCode != task.TaskFailedToStart || s.StopReason != want {
		t.Errorf("%s: %s, want %s", s.StopCode, s.StopReason, want)
	}
	if s = Next(row, def, parseSandbox("hrr"), noon.Add(time.Hour)); s.StopCode != "" || s.RecheckAfter != 0 {
		t.Errorf("an hour after all containers started: %s, recheck after %v", s.StopCode, s.RecheckAfter)
	}
}
