package inspect

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/containerlog"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
	"github.com/bakingclouds/rollcall/internal/task"
)

func TestSplitTarget(t *testing.T) {
	for _, tc := range []struct{ target, cluster, name string }{
		{"web", "", "web"},
		{"prod/web", "prod", "web"},
		{"1f0c", "", "1f0c"},
		{"arn:aws:ecs:eu-west-1:123456789012:service/prod/web", "prod", "web"},
		{"arn:aws:ecs:eu-west-1:123456789012:service/web", "", "web"},
		{"arn:aws:ecs:eu-west-1:123456789012:task/prod/1f0c", "prod", "1f0c"},
		{"", "", ""},
	} {
		if cluster, name := splitTarget(tc.target); cluster != tc.cluster || name != tc.name {
			t.Errorf("splitTarget(%q) = %q, %q; want %q, %q", tc.target, cluster, name, tc.cluster, tc.name)
		}
	}
}

// openTasks opens a store with services, written as "CLUSTER/NAME", and tasks, written as "CLUSTER/ID" or, for the
// task of a service, "CLUSTER/ID=SERVICE".
func openTasks(t *testing.T, services, tasks string) *store.Store {
	t.Helper()
	db := storetest.Open(t, task.Schema()...)
	_, err := store.Update(t.Context(), db, func(tx *store.Tx) (struct{}, error) {
		for _, word := range strings.Fields(services) {
			cluster, name, _ := strings.Cut(word, "/")
			task.PutService(tx, task.Service{Account: apitest.Account, Region: apitest.Region, Cluster: cluster,
				Name: name})
		}
		for _, word := range strings.Fields(tasks) {
			cluster, id, _ := strings.Cut(word, "/")
			id, service, _ := strings.Cut(id, "=")
			task.CreateTask(tx, task.Task{
				Account: apitest.Account, Region: apitest.Region, Cluster: cluster, ID: task.ID(id), Service: service,
			})
		}
		return struct{}{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func TestFindTasks(t *testing.T) {
	db := openTasks(t, "default/web prod/web prod/api test/api prod/idle",
		"default/aaaa1=web default/aaaa2=web prod/bbbb1=web prod/bbbb2=api prod/cccc1 prod/cccc2 test/dddd1")
	for _, tc := range []struct {
		name, target string
		want         string // "service:" and the ids, the ids, or an error
	}{
		{"service of the default cluster", "web", "service: aaaa1 aaaa2"},
		{"service of another cluster", "prod/web", "service: bbbb1"},
		{"service by ARN", "arn:aws:ecs:eu-west-1:123456789012:service/prod/web", "service: bbbb1"},
		{"service without tasks", "idle", "service:"},
		{"service of several clusters", "api", `input: Several clusters have a service "api"; use CLUSTER/api`},
		{"task by id", "cccc1", "cccc1"},
		{"task by prefix", "dddd", "dddd1"},
		{"task by ARN", "arn:aws:ecs:eu-west-1:123456789012:task/prod/cccc2", "cccc2"},
		{"task of another cluster", "default/cccc1",
			`input: No service and no task "default/cccc1" exists in eu-west-1`},
		{"prefix of several tasks", "cccc", `input: The ids of 2 tasks begin with "cccc"; use a longer prefix`},
		{"prefix too short", "ddd", `input: No service and no task "ddd" exists in eu-west-1`},
		{"unknown", "none", `input: No service and no task "none" exists in eu-west-1`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tasks, service, err := findTasks(db.Snapshot(), apitest.Region, tc.target)
			var words []string
			if service {
				words = append(words, "service:")
			}
			for _, t := range tasks {
				words = append(words, string(t.ID))
			}
			slices.Sort(words[min(1, len(words)):])
			got := strings.Join(words, " ")
			if err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("findTasks(%s) = %s, want %s", tc.target, got, tc.want)
			}
		})
	}
	if _, _, err := findTasks(db.Snapshot(), "us-east-1", "web"); err == nil {
		t.Error("found a service of another region")
	}
}

// TestGetLogs reads the log of a task in two parts, then checks when a log has ended.
func TestGetLogs(t *testing.T) {
	db := openTasks(t, "", "default/aaaa1")
	logs := apitest.Must(containerlog.OpenCatalog(filepath.Join(t.TempDir(), "logs")))(t)
	now := time.UnixMilli(1_700_000_000_000)
	programs := map[string]*os.File{}
	writers := map[string]*containerlog.Writer{}
	for _, container := range []string{"app", "proxy"} {
		if err := logs.Declare("aaaa1", container, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range logs.Task("aaaa1") {
		writers[e.Container] = apitest.Must(containerlog.Open(e.Dir, now))(t)
		programs[e.Container] = apitest.Must(os.OpenFile(containerlog.File(e.Dir), os.O_APPEND|os.O_WRONLY, 0))(t)
		t.Cleanup(func() { programs[e.Container].Close() })
	}
	printLine := func(container, line string) {
		t.Helper()
		if _, err := programs[container].WriteString(line + "\n"); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Second)
		if err := writers[container].Record(now); err != nil {
			t.Fatal(err)
		}
	}
	a := &api{db: db, logs: logs}
	in := GetLogsInput{Target: "aaaa1"}
	read := func() string {
		t.Helper()
		ctx := awsapi.WithCaller(t.Context(), awsapi.Caller{Account: apitest.Account, Region: apitest.Region})
		out := apitest.Must(a.getLogs(ctx, &in))(t)
		in.Positions = out.Positions
		var words []string
		for _, l := range out.Lines {
			words = append(words, l.Container+":"+l.Text)
		}
		return fmt.Sprintf("%s more=%t ended=%t", strings.Join(words, " "), out.More, out.Ended)
	}
	printLine("app", "one")
	printLine("proxy", "two")
	printLine("app", "three\xff")
	if got, want := read(), "app:one proxy:two app:three\uFFFD more=false ended=false"; got != want {
		t.Errorf("first part: %s, want %s", got, want)
	}
	printLine("app", "four")
	if got, want := read(), "app:four more=false ended=false"; got != want {
		t.Errorf("second part: %s, want %s", got, want)
	}
	in.Positions, in.Container = nil, "proxy"
	if got, want := read(), "proxy:two more=false ended=false"; got != want {
		t.Errorf("one container: %s, want %s", got, want)
	}
	stop := func(tx *store.Tx) (struct{}, error) {
		ref := task.Ref{Scope: arn.Scope{Account: apitest.Account, Region: apitest.Region}, Cluster: "default",
			ID: "aaaa1"}
		return struct{}{}, task.UpdateTask(tx, ref,
			func(t *task.Task) bool { t.Observed.State = task.Stopped; return true })
	}
	apitest.Must(store.Update(t.Context(), db, stop))(t)
	if got, want := read(), " more=false ended=true"; got != want {
		t.Errorf("after the task has stopped: %s, want %s", got, want)
	}
}
