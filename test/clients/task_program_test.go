package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/bakingclouds/rollcall/internal/agent/process"
	"github.com/bakingclouds/rollcall/test/harness"
)

// taskProgram is the argument with which the test binary runs as the program of a task.
const taskProgram = "task-program"

// findings is what that program finds. It prints them as one line of JSON.
type findings struct {
	Env       []string
	Caller    string
	Instances []string
	Write     string // the error code of a call that writes
	Problem   string
}

// runTaskProgram collects findings as a program does that reads nothing but its environment, and then runs until it is
// killed.
func runTaskProgram() int {
	found := findings{Env: os.Environ()}
	if err := found.collect(context.Background()); err != nil {
		found.Problem = err.Error()
	}
	line, _ := json.Marshal(found)
	fmt.Println(string(line))
	select {}
}

// collect fills in the findings.
func (f *findings) collect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	who, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, nil)
	if err != nil {
		return err
	}
	f.Caller = *who.Arn
	cloudMap := servicediscovery.NewFromConfig(cfg)
	if os.Getenv("AWS_DISABLE_HOST_PREFIX_INJECTION") != "" { // the API has no host name: see docs/clients.md
		cloudMap = servicediscovery.NewFromConfig(cfg, harness.NoHostPrefix)
	}
	for len(f.Instances) == 0 { // a task is registered after it has started
		time.Sleep(50 * time.Millisecond)
		out, err := cloudMap.DiscoverInstances(ctx, &servicediscovery.DiscoverInstancesInput{
			NamespaceName: aws.String("corp"), ServiceName: aws.String("inside")})
		if err != nil {
			return err
		}
		for _, i := range out.Instances {
			f.Instances = append(f.Instances, *i.InstanceId)
		}
	}
	_, err = cloudMap.DeregisterInstance(ctx, &servicediscovery.DeregisterInstanceInput{ServiceId: aws.String("srv-x"),
		InstanceId: aws.String("i")})
	var refused smithy.APIError
	if !errors.As(err, &refused) {
		return fmt.Errorf("DeregisterInstance: %w", err)
	}
	f.Write = refused.ErrorCode()
	return nil
}

// containerOutput returns what a task's container has printed so far.
func containerOutput(s *harness.Server, taskID, container string) string {
	text, err := os.ReadFile(process.LogFile(s.Dir, taskID, container))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.T.Fatal(err)
	}
	return string(text)
}

// fetch reads a URL, as a task would.
func fetch(t *testing.T, url, token string) (int, string) {
	t.Helper()
	req := harness.Must(http.NewRequestWithContext(harness.ShortContext(t), http.MethodGet, url, nil))(t)
	req.Header.Set("Authorization", token)
	resp := harness.Must(http.DefaultClient.Do(req))(t)
	defer resp.Body.Close()
	return resp.StatusCode, string(harness.Must(io.ReadAll(resp.Body))(t))
}

// TestProgramInTask runs a program in a task. It must find instances through an SDK without any setting, and must not
// be able to write. The metadata, credentials and protection endpoints must work for it, also after the server was
// killed and started again.
func TestProgramInTask(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	registry := s.CreateCloudMapService(s.CreateNamespace("corp"), "inside", 5)
	in := harness.Program(t, "inside", harness.TestBinary(t), taskProgram)
	in.TaskRoleArn = aws.String("arn:aws:iam::000000000000:role/reader")
	in.ContainerDefinitions[0].Secrets = []ecstypes.Secret{
		{Name: aws.String("TOKEN"), ValueFrom: aws.String("/prod/token")}}
	in.ContainerDefinitions[0].EnvironmentFiles = []ecstypes.EnvironmentFile{
		{Type: ecstypes.EnvironmentFileTypeS3, Value: aws.String("arn:aws:s3:::conf/app.env")}}
	for path, text := range map[string]string{"secrets/prod/token": "hunter2\n",
		"files/conf/app.env": "GREETING=hello\n"} {
		path = filepath.Join(s.Dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700),
			os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	s.CreateECSService("inside", s.RegisterDefinition(in), 1, registry)
	s.WaitStable("inside")
	running := s.Tasks("inside", ecstypes.DesiredStatusRunning)[0]
	id := harness.TaskID(running)
	harness.Eventually(t, time.Minute, "the task prints what it finds",
		func() bool { return strings.HasSuffix(containerOutput(s, id, "main"), "\n") })
	var found findings
	if err := json.Unmarshal([]byte(containerOutput(s, id, "main")), &found); err != nil || found.Problem != "" {
		t.Fatalf("output of the task: %v, %s", err, found.Problem)
	}
	if !slices.Equal(found.Instances, []string{id}) || found.Write != "AccessDeniedException" ||
		!strings.Contains(found.Caller, ":assumed-role/") {
		t.Errorf("the task found %+v", found)
	}
	env := map[string]string{}
	for _, v := range found.Env {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
	}
	if env["TOKEN"] != "hunter2" || env["GREETING"] != "hello" || env["AWS_EXECUTION_ENV"] != "AWS_ECS_EC2" ||
		env["AWS_REGION"] != "us-east-1" {
		t.Errorf("the task's environment is %q", found.Env)
	}
	checkTaskEndpoint(t, env, *running.TaskArn)

	s.Kill()
	s = harness.ServeOn(t, s.Dir)
	checkTaskEndpoint(t, env, *running.TaskArn)
	for name, text := range map[string]string{"the server's log": s.Out.String(),
		"DescribeTasks": harness.AsJSON(s.Tasks("inside", ecstypes.DesiredStatusRunning)),
		"DescribeTaskDefinition": harness.AsJSON(harness.Must(s.ECS().DescribeTaskDefinition(t.Context(),
			&ecs.DescribeTaskDefinitionInput{TaskDefinition: aws.String("inside")}))(t))} {
		if strings.Contains(text, "hunter2") || strings.Contains(text, env["AWS_CONTAINER_AUTHORIZATION_TOKEN"]) {
			t.Errorf("%s shows a secret:\n%s", name, text)
		}
	}
}

// checkTaskEndpoint calls the endpoints that a task's environment names.
func checkTaskEndpoint(t *testing.T, env map[string]string, arn string) {
	t.Helper()
	var doc struct {
		TaskARN    string
		Containers []struct{ Name, KnownStatus string }
	}
	// a new server adopts the task first
	harness.Eventually(t, 30*time.Second, "the metadata endpoint returns the task", func() bool {
		status, body := fetch(t, env["ECS_CONTAINER_METADATA_URI_V4"]+"/task", "")
		if strings.Contains(body, "hunter2") {
			t.Fatalf("the metadata shows a secret: %s", body)
		}
		return status == http.StatusOK && json.Unmarshal([]byte(body), &doc) == nil
	})
	if doc.TaskARN != arn || len(doc.Containers) != 1 || doc.Containers[0].KnownStatus != "RUNNING" {
		t.Errorf("the metadata is %+v", doc)
	}
	if status, body := fetch(t, env["ECS_CONTAINER_METADATA_URI_V4"]+"/stats", ""); status != http.StatusOK ||
		!strings.Contains(body, "total_usage") {
		t.Errorf("stats: status %d, %s", status, body)
	}
	if status, body := fetch(t, env["ECS_AGENT_URI"]+"/task-protection/v1/state", ""); status != http.StatusOK ||
		!strings.Contains(body, `"ProtectionEnabled":false`) {
		t.Errorf("task protection: status %d, %s", status, body)
	}
	status, body := fetch(t, env["AWS_CONTAINER_CREDENTIALS_FULL_URI"], env["AWS_CONTAINER_AUTHORIZATION_TOKEN"])
	if status != http.StatusOK || !strings.Contains(body, `"AccessKeyId":"ASIA`) {
		t.Errorf("credentials: status %d, want 200 and an access key", status)
	}
	if status, _ := fetch(t, env["AWS_CONTAINER_CREDENTIALS_FULL_URI"], "guessed"); status != http.StatusUnauthorized {
		t.Errorf("credentials with a wrong token: status %d, want 401", status)
	}
}
