package metadata

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
	"github.com/bakingclouds/rollcall/internal/task"
)

const taskID = "0123456789abcdef0123456789abcdef"

// node is an endpoint with one task of a service.
type node struct {
	*Endpoint
	t    *testing.T
	task *task.Task
	def  *task.Definition
}

func newNode(t *testing.T, role string) *node {
	t.Helper()
	db := storetest.Open(t, task.Schema()...)
	sc := arn.Scope{Account: "000000000000", Region: "eu-west-1"}
	def := task.Definition{
		Family: "web", NetworkMode: agent.NetworkAWSVPC, TaskRole: role,
		Containers: []task.ContainerDefinition{
			{Name: "app", Image: "app:1", Essential: true, HealthCheck: &task.HealthCheck{},
				Environment: map[string]string{"PASSWORD": "hunter2"}},
			{Name: "log", Image: "log:1", Secrets: []task.Secret{{Name: "S", From: "hunter3"}}},
		},
		Sent: json.RawMessage(`{"family":"web","cpu":"512","memory":"1024","containerDefinitions":[
			{"name":"app","image":"app:1","cpu":256,"memory":512,"dockerLabels":{"team":"red"},
			 "environment":[{"name":"PASSWORD","value":"hunter2"}],
			 "logConfiguration":{"logDriver":"awslogs","options":{"awslogs-group":"web"}}},
			{"name":"log","image":"log:1","secrets":[{"name":"S","valueFrom":"hunter3"}]}]}`),
	}
	n := &node{t: t}
	_, err := store.Update(t.Context(), db, func(tx *store.Tx) (struct{}, error) {
		n.def = task.RegisterDefinition(tx, sc, def, time.Now())
		task.PutService(tx, task.Service{
			Account: sc.Account, Region: sc.Region, Cluster: "default", Name: "web", Status: task.Active, LaunchType: task.EC2,
			DesiredCount: 1,
		})
		n.task = task.CreateTask(tx, task.Task{
			Account: sc.Account, Region: sc.Region, Cluster: "default", ID: taskID, Service: "web", Family: "web", Revision: 1,
			Node: "n", Tags: map[string]string{"stage": "blue"}, Observed: task.Observed{State: task.Running},
		})
		return struct{}{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sandbox := &agent.Sandbox{TaskID: taskID, Address: netip.MustParseAddr("127.64.0.5"),
		Containers: []agent.ContainerStatus{
			{Name: "app", RuntimeID: "41", StartedAt: time.Unix(1700000000, 0), Health: agent.HealthHealthy,
				Ports: []agent.PortBinding{
					{Container: 80, Host: 80, HostIP: netip.MustParseAddr("127.64.0.5"), Protocol: "tcp"}}},
			{Name: "log", RuntimeID: "42", StartedAt: time.Unix(1700000000, 0), FinishedAt: time.Unix(1700000001, 0),
				ExitCode: new(int)},
		}}
	n.Endpoint, err = Open(Config{
		DB: db, Dir: t.TempDir(), Zone: "a", API: "http://127.0.0.1:7070", Log: slog.New(slog.DiscardHandler),
		Issue: func(expires time.Time) Keys { return Keys{"ASIA1", "s", "t", expires} },
		Usage: func(ids []string) map[string]agent.Usage {
			all := map[string]agent.Usage{}
			for _, id := range ids {
				all[id] = agent.Usage{Processes: 3, User: 2 * time.Second, Kernel: time.Second, Memory: 1 << 20, Machine: time.Hour}
			}
			return all
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	go n.Serve(func(id string) (*task.Task, *agent.Sandbox, bool) {
		if id != taskID {
			return nil, nil, false
		}
		row, err := task.GetTask(db.Snapshot(), task.Ref{Scope: sc, Cluster: "default", ID: task.ID(id)})
		return row, sandbox, err == nil
	})
	return n
}

// ask sends a request, and returns the status and body of the reply.
func (n *node) ask(method, url, body, token string) (int, string) {
	n.t.Helper()
	req, err := http.NewRequestWithContext(n.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// TestDocuments compares the documents of a task, as its first container reads them, byte for byte.
func TestDocuments(t *testing.T) {
	n := newNode(t, "")
	env := n.Environment(n.task, n.def, 0)
	const labels = `"Labels":{"com.amazonaws.ecs.cluster":"default","com.amazonaws.ecs.container-name":"%s",` +
		`"com.amazonaws.ecs.task-arn":"arn:aws:ecs:eu-west-1:000000000000:task/default/` + taskID + `",` +
		`"com.amazonaws.ecs.task-definition-family":"web","com.amazonaws.ecs.task-definition-version":"1"%s}`
	app := `{"DockerId":"41","Name":"app","DockerName":"ecs-web-1-app-0123456789abcdef0123","Image":"app:1",` +
		`"ContainerARN":"` + n.task.ContainerARN("app") + `",` + fmt.Sprintf(labels, "app", `,"team":"red"`) +
		`,"DesiredStatus":"RUNNING","KnownStatus":"RUNNING","CreatedAt":"2023-11-14T22:13:20Z",` +
		`"StartedAt":"2023-11-14T22:13:20Z",` +
		`"Type":"NORMAL","Limits":{"CPU":256,"Memory":512},"Ports":[{"ContainerPort":80,"Protocol":"tcp","HostPort":80}],` +
		`"Networks":[{"NetworkMode":"awsvpc","IPv4Addresses":["127.64.0.5"],"AttachmentIndex":0}],` +
		`"Health":{"status":"HEALTHY"},` +
		`"LogDriver":"awslogs","LogOptions":{"awslogs-group":"web"}}`
	log := `{"DockerId":"42","Name":"log","DockerName":"ecs-web-1-log-0123456789abcdef0123","Image":"log:1",` +
		`"ContainerARN":"` + n.task.ContainerARN("log") + `",` + fmt.Sprintf(labels, "log", "") +
		`,"DesiredStatus":"RUNNING","KnownStatus":"STOPPED","ExitCode":0,"CreatedAt":"2023-11-14T22:13:20Z",` +
		`"StartedAt":"2023-11-14T22:13:20Z",` +
		`"FinishedAt":"2023-11-14T22:13:21Z","Type":"NORMAL","Limits":{"CPU":0},` +
		`"Networks":[{"NetworkMode":"awsvpc","IPv4Addresses":["127.64.0.5"],"AttachmentIndex":0}]}`
	task := `{"Cluster":"default","TaskARN":"arn:aws:ecs:eu-west-1:000000000000:task/default/` + taskID +
		`","Family":"web","Revision":"1",` +
		`"ServiceName":"web","DesiredStatus":"RUNNING","KnownStatus":"RUNNING","Limits":{"CPU":0.5,"Memory":1024},` +
		`"AvailabilityZone":"eu-west-1a","LaunchType":"EC2","Containers":[` + app + `,` + log + `]%s}`
	for path, want := range map[string]string{
		"": app, "/task": fmt.Sprintf(task, ""), "/taskWithTags": fmt.Sprintf(task, `,"TaskTags":{"stage":"blue"}`),
	} {
		for _, variable := range []string{"ECS_CONTAINER_METADATA_URI_V4", "ECS_CONTAINER_METADATA_URI"} {
			if status, got := n.ask("GET", env[variable]+path, "", ""); status != 200 || got != want {
				t.Errorf("GET $%s%s: %d\n%s\nwant\n%s", variable, path, status, got, want)
			}
		}
	}
	var stats map[string]*struct {
		CPU struct {
			Usage struct {
				Total int64 `json:"total_usage"`
			} `json:"cpu_usage"`
		} `json:"cpu_stats"`
		Memory memoryStats `json:"memory_stats"`
	}
	status, got := n.ask("GET", env["ECS_CONTAINER_METADATA_URI_V4"]+"/task/stats", "", "")
	if err := json.Unmarshal([]byte(got), &stats); status != 200 || err != nil || len(stats) != 2 || stats["42"] != nil ||
		stats["41"].CPU.Usage.Total != 3e9 || stats["41"].Memory != (memoryStats{1 << 20, 512 << 20}) {
		t.Errorf("stats: %d, %s, %v", status, got, err)
	}
	if status, got := n.ask("GET", env["ECS_CONTAINER_METADATA_URI_V4"]+"/stats", "", ""); status != 200 ||
		!strings.Contains(got, `"name":"app"`) {
		t.Errorf("a container's stats: %d, %s", status, got)
	}
}

// TestInvalidNames checks that a request without a name from the endpoint learns nothing and changes nothing.
func TestInvalidNames(t *testing.T) {
	n := newNode(t, "reader")
	env := n.Environment(n.task, n.def, 0)
	name := strings.TrimPrefix(env["ECS_CONTAINER_METADATA_URI_V4"], n.base+"/v4/")
	credentials := strings.TrimPrefix(env["AWS_CONTAINER_CREDENTIALS_FULL_URI"], n.base+"/v2/credentials/")
	token := env["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
	other := secret("another key, from another node")
	flipped := name[:len(name)-1] + string('0'+('9'-name[len(name)-1])%10)
	for _, tc := range []struct {
		method, path, token string
		want                int
	}{
		{"GET", "/", "", 404}, {"GET", "/v4", "", 404}, {"GET", "/v4/", "", 404}, {"GET", "/v4//task", "", 404},
		{"GET", "/v4/" + taskID, "", 404}, {"GET", "/v4/" + taskID + "-0", "", 404},
		{"GET", "/v4/" + taskID + "-0-/task", "", 404},
		{"GET", "/v4/" + flipped + "/task", "", 404},
		{"GET", "/v4/" + other.container(taskID, 0) + "/task", "", 404},
		{"GET", "/v4/" + strings.Replace(name, "-0-", "-1-", 1), "", 404}, // another container's number
		{"GET", "/v4/" + n.secret.container(taskID, 2), "", 404},
		{"GET", "/v4/" + n.secret.container("fedc", 0), "", 404}, // no such task
		{"GET", "/v4/" + credentials, "", 404}, {"GET", "/v4/" + strings.Repeat("a", 5000), "", 404},
		{"POST", "/v4/" + name, "", 404}, {"PUT", "/v4/" + name + "/task", "", 404},
		{"DELETE", "/api/" + name + "/task-protection/v1/state", "", 404},
		{"GET", "/v2/credentials/" + credentials, "", 401},
		{"GET", "/v2/credentials/" + credentials, token[:len(token)-1], 401},
		{"GET", "/v2/credentials/" + credentials, other.token(taskID), 401},
		{"GET", "/v2/credentials/" + credentials, name, 401},
		{"GET", "/v2/credentials/" + name, token, 400}, {"GET", "/v2/credentials/" + taskID, token, 400},
		{"GET", "/v2/credentials/" + other.credentials(taskID), token, 400},
		{"PUT", "/api/" + flipped + "/task-protection/v1/state", "", 404},
		{"PUT", "/api/" + credentials + "/task-protection/v1/state", "", 404},
		{"GET", "/v4/" + name, "", 200}, {"GET", "/v2/credentials/" + credentials, token, 200},
	} {
		status, got := n.ask(tc.method, n.base+tc.path, "", tc.token)
		if status != tc.want || status != 200 && strings.Contains(got, "web") {
			t.Errorf("%s %s: %d %s, want %d", tc.method, tc.path, status, got, tc.want)
		}
	}
	row, err := task.GetTask(n.DB.Snapshot(), task.Ref{Scope: n.task.Scope(), Cluster: "default", ID: taskID})
	if err != nil || row.ProtectedUntil != nil {
		t.Errorf("the task's row afterwards: %+v, %v", row, err)
	}
}

// TestCredentials checks that only a task with a role gets keys, with an expiry, and variables that lead to them.
func TestCredentials(t *testing.T) {
	n := newNode(t, "reader")
	env := n.Environment(n.task, n.def, 1)
	status, got := n.ask("GET", env["AWS_CONTAINER_CREDENTIALS_FULL_URI"], "", env["AWS_CONTAINER_AUTHORIZATION_TOKEN"])
	var keys credentialsDocument
	if err := json.Unmarshal([]byte(got), &keys); status != 200 || err != nil ||
		keys.AccessKeyID != "ASIA1" || keys.SecretAccessKey != "s" || keys.Token != "t" ||
		keys.RoleArn != "arn:aws:iam::000000000000:role/reader" ||
		time.Until(keys.Expiration) < 50*time.Minute {
		t.Errorf("credentials: %d, %s, %v", status, got, err)
	}
	n.def.TaskRole = ""
	for name := range n.Environment(n.task, n.def, 1) {
		if strings.HasPrefix(name, "AWS_CONTAINER") || strings.HasPrefix(name, "AWS_ENDPOINT") {
			t.Errorf("a task without a role has the variable %s", name)
		}
	}
	bare := newNode(t, "")
	status, got = bare.ask("GET", bare.base+"/v2/credentials/"+bare.secret.credentials(taskID), "",
		bare.secret.token(taskID))
	if status != 400 || strings.Contains(got, "ASIA") {
		t.Errorf("GET credentials of a task without a role: %d, %s", status, got)
	}
}

// TestProtection protects a task as a worker does that must not be stopped in the middle of its work.
func TestProtection(t *testing.T) {
	n := newNode(t, "")
	url := n.Environment(n.task, n.def, 0)["ECS_AGENT_URI"] + "/task-protection/v1/state"
	off := `{"protection":{"ProtectionEnabled":false,"TaskArn":"` + n.task.ARN() + `"}}`
	for _, tc := range []struct {
		method, body string
		status       int
		want         string // part of the answer
	}{
		{"GET", "", 200, off},
		{"PUT", `{"ProtectionEnabled":true,"ExpiresInMinutes":60}`, 200, `"ProtectionEnabled":true`},
		{"GET", "", 200, `{"protection":{"ExpirationDate":"`},
		{"PUT", `{"ProtectionEnabled":true,"ExpiresInMinutes":2881}`, 400, "between 1 and 2880"},
		{"PUT", `{"ProtectionEnabled":true,"ExpiresInMinutes":0}`, 400, "between 1 and 2880"},
		{"PUT", `{"ProtectionEnabled":true,"ExpiresInMinutes":9223372036854775807}`, 400, "between 1 and 2880"},
		{"PUT", `{"ProtectionEnabled":true,"Forever":true}`, 400, `"Code":"InvalidParameterException"`},
		{"PUT", `{"ExpiresInMinutes":5}`, 400, "'ProtectionEnabled'"},
		{"PUT", `{"ProtectionEnabled":true} more`, 400, "decode"},
		{"PUT", ``, 400, "decode"},
		{"PUT", `{"ProtectionEnabled":` + strings.Repeat(" ", 1<<20) + `true}`, 400, "decode"},
		{"GET", "", 200, `"ProtectionEnabled":true`}, // the invalid requests changed nothing
		{"PUT", `{"ProtectionEnabled":false}`, 200, off},
		{"GET", "", 200, off},
	} {
		if status, got := n.ask(tc.method, url, tc.body, ""); status != tc.status || !strings.Contains(got, tc.want) {
			t.Errorf("%s %.80s: %d %s, want %d %s", tc.method, tc.body, status, got, tc.status, tc.want)
		}
	}
	_, err := store.Update(t.Context(), n.DB, func(tx *store.Tx) (struct{}, error) {
		_, _, err := task.Stop(tx, n.task.Ref(), task.StopCause{Code: task.UserInitiated, Reason: "enough"}, time.Now())
		return struct{}{}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if status, got := n.ask("PUT", url, `{"ProtectionEnabled":true}`, ""); status != 200 ||
		!strings.Contains(got, `{"failure":{"Arn":"`+n.task.ARN()+`","Reason":"TASK_NOT_VALID"`) {
		t.Errorf("PUT protection of a stopping task: %d %s", status, got)
	}
}

// TestReopen checks that the port and the names stay the same after a restart, and change together if the port is in
// use.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Dir: dir, Log: slog.New(slog.DiscardHandler)}
	first, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	second, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if first.base != second.base || first.secret.container("t", 1) != second.secret.container("t", 1) {
		t.Errorf("the endpoint moved from %s to %s", first.base, second.base)
	}
	third, err := Open(cfg) // while the port is in use
	if err != nil || third.base == second.base || third.secret.container("t", 1) == second.secret.container("t", 1) {
		t.Errorf("the endpoint keeps its port or its key while another has the port: %v", err)
	}
	third.Close()
	second.Close()
	info, err := os.Stat(dir + "/" + stateFile)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file with the key has mode %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(dir+"/"+stateFile, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("Open with a damaged file: %v", err)
	}
}

// TestLimits checks the burst of 60 requests and the rate of 40 a second, for each task separately.
func TestLimits(t *testing.T) {
	var l limits
	now := time.Unix(1700000000, 0)
	allowed := func(id string, n int) (passed int) {
		for range n {
			if l.allow(id, now) {
				passed++
			}
		}
		return passed
	}
	if got := allowed("a", 100); got != burst {
		t.Errorf("%d of 100 simultaneous requests are allowed, want 60", got)
	}
	if got := allowed("b", 1); got != 1 {
		t.Error("a task uses up the tokens of another")
	}
	now = now.Add(time.Second)
	if got := allowed("a", 100); got != perSecond {
		t.Errorf("%d of 100 requests are allowed a second later, want 40", got)
	}
	now = now.Add(time.Hour)
	if allowed("c", 1); len(l.buckets) != 1 {
		t.Errorf("%d buckets are kept for tasks without recent requests", len(l.buckets)-1)
	}
}
