package task_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
	"github.com/bakingclouds/rollcall/internal/task"
)

var (
	noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	sc   = arn.Scope{Account: "123456789012", Region: "eu-west-1"}
	prod = task.ClusterRef{Scope: sc, Name: "prod"}
	web  = task.ServiceRef{Scope: sc, Cluster: "prod", Name: "web"}
)

// world is a store that a test writes to, in one transaction per call.
type world struct {
	t  *testing.T
	db *store.Store
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{t, storetest.Open(t, task.Schema()...)}
}

// write runs fn in a transaction and returns its error as text: "ok", or the kind of the fault.
func (w *world) write(fn func(tx *store.Tx) error) string {
	w.t.Helper()
	_, err := store.Update(w.t.Context(), w.db, func(tx *store.Tx) (struct{}, error) { return struct{}{}, fn(tx) })
	var f *fault.Error
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &f):
		return f.Kind.String()
	}
	w.t.Fatal(err)
	return ""
}

func ref(id task.ID) task.Ref { return task.Ref{Scope: sc, Cluster: "prod", ID: id} }

// run adds a RUNNING task of the service web.
func (w *world) run(id task.ID, change func(*task.Task)) {
	w.t.Helper()
	w.write(func(tx *store.Tx) error {
		t := task.Task{
			Account: sc.Account, Region: sc.Region, Cluster: "prod", ID: id, Service: "web", Family: "web", Revision: 1,
			Created:  noon,
			Observed: task.Observed{State: task.Running},
		}
		if change != nil {
			change(&t)
		}
		task.CreateTask(tx, t)
		return nil
	})
}

// service writes the service web and creates its cluster.
func (w *world) service(change func(*task.Service)) {
	w.t.Helper()
	w.write(func(tx *store.Tx) error {
		task.CreateCluster(tx, task.Cluster{Account: sc.Account, Region: sc.Region, Name: "prod"}, noon)
		s := task.Service{Account: sc.Account, Region: sc.Region, Cluster: "prod", Name: "web", Status: task.Active,
			DesiredCount: 1}
		s.Deployments = []task.Deployment{{ID: "ecs-svc/1", Family: "web", Revision: 1, Rollout: task.Completed}}
		if change != nil {
			change(&s)
		}
		task.PutService(tx, s)
		return nil
	})
}

// TestDefinitions runs scripts of "register", "deregister N", "delete N", "run N" and "reap" on the family web. want
// has the results of the steps, then the status of each revision that remains, and the latest active revision.
func TestDefinitions(t *testing.T) {
	for _, tc := range []struct{ script, want string }{
		{"register; register", "ok ok: 1 ACTIVE, 2 ACTIVE; latest 2"},
		{"register; register; deregister 2", "ok ok ok: 1 ACTIVE, 2 INACTIVE; latest 1"},
		{"register; deregister 1; deregister 1", "ok ok ok: 1 INACTIVE; latest none"},
		{"deregister 1", "not found: ; latest none"},
		{"register; delete 1", "ok in use: 1 ACTIVE; latest 1"},
		{"delete 1", "not found: ; latest none"},
		{"register; deregister 1; delete 1; delete 1", "ok ok ok ok: 1 DELETE_IN_PROGRESS; latest none"},
		{"register; deregister 1; delete 1; reap", "ok ok ok ok: ; latest none"},
		{"register; deregister 1; reap", "ok ok ok: 1 INACTIVE; latest none"},
		{"register; run 1; deregister 1; delete 1; reap", "ok ok ok ok ok: 1 DELETE_IN_PROGRESS; latest none"},
		{"register; deregister 1; delete 1; reap; register", "ok ok ok ok ok: 2 ACTIVE; latest 2"},
	} {
		w := newWorld(t)
		var results []string
		for step := range strings.SplitSeq(tc.script, "; ") {
			verb, number, _ := strings.Cut(step, " ")
			n := 0
			_, _ = fmt.Sscan(number, &n)
			results = append(results, w.write(func(tx *store.Tx) (err error) {
				switch verb {
				case "register":
					task.RegisterDefinition(tx, sc, task.Definition{Family: "web"}, noon)
				case "deregister":
					_, err = task.DeregisterDefinition(tx, sc, "web", n, noon)
				case "delete":
					_, err = task.DeleteDefinition(tx, sc, "web", n, noon)
				case "run":
					task.CreateTask(tx, task.Task{Region: sc.Region, Cluster: "prod", ID: "1", Family: "web", Revision: n})
				case "reap":
					task.ReapDefinitions(tx, 10)
				}
				return err
			}))
		}
		var left []string
		task.ScanDefinitions(w.db.Snapshot(), sc, "web", func(d *task.Definition) bool {
			left = append(left, fmt.Sprint(d.Revision, " ", d.Status))
			return true
		})
		latest := "none"
		if d, err := task.GetDefinition(w.db.Snapshot(), sc, "web", 0); err == nil {
			latest = fmt.Sprint(d.Revision)
		}
		got := fmt.Sprintf("%s: %s; latest %s", strings.Join(results, " "), strings.Join(left, ", "), latest)
		if got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.script, got, tc.want)
		}
	}
}

// TestStop checks that the first stop cause stays and that ForceStop also ends the task.
func TestStop(t *testing.T) {
	w := newWorld(t)
	w.run("1", nil)
	stop := func(reason string) (first bool) {
		w.write(func(tx *store.Tx) (err error) {
			_, first, err = task.Stop(tx, ref("1"), task.StopCause{Code: task.UserInitiated, Reason: reason}, noon)
			return err
		})
		return first
	}
	if first, second := stop("one"), stop("two"); !first || second {
		t.Errorf("Stop returned %v and then %v, want true and then false", first, second)
	}
	row, err := task.GetTask(w.db.Snapshot(), ref("1"))
	if err != nil || row.StoppedReason != "one" || row.Desired != task.DesiredStopped ||
		row.Observed.State != task.Running {
		t.Errorf("after Stop: %+v, %v", row, err)
	}
	w.write(func(tx *store.Tx) error {
		return task.ForceStop(tx, ref("1"), task.StopCause{Code: task.TerminationNotice, Reason: "three"}, noon)
	})
	row, _ = task.GetTask(w.db.Snapshot(), ref("1"))
	if row.StoppedReason != "one" || row.Observed.State != task.Stopped || row.Observed.EndedAt == nil ||
		row.Version != 3 {
		t.Errorf("after ForceStop: %+v", row)
	}
	if got := w.write(func(tx *store.Tx) error {
		return task.ForceStop(tx, ref("2"), task.StopCause{}, noon)
	}); got != "not found" {
		t.Errorf("ForceStop of a missing task: %s", got)
	}
	for _, tc := range []struct {
		after time.Duration
		want  int
	}{{task.StoppedRetention - 1, 1}, {task.StoppedRetention, 0}} {
		w.write(func(tx *store.Tx) error { task.ReapTasks(tx, noon.Add(tc.after), 10); return nil })
		if got := len(task.TasksOf(w.db.Snapshot(), web)); got != tc.want {
			t.Errorf("%d tasks remain %v after the stop, want %d", got, tc.after, tc.want)
		}
	}
}

func TestServing(t *testing.T) {
	since := noon
	for _, tc := range []struct {
		name   string
		change func(*task.Task)
		want   bool
	}{
		{"healthy without a registry", func(*task.Task) {}, true},
		{"not yet healthy", func(t *task.Task) { t.Observed.HealthySince = nil }, false},
		{"not yet running", func(t *task.Task) { t.Observed.State = task.Activating }, false},
		{"stopping", func(t *task.Task) { t.Desired = task.DesiredStopped }, false},
		{"registered but not answered", func(t *task.Task) { t.Registries = []task.Registry{{}} }, false},
		{"answered", func(t *task.Task) { t.Registries, t.Answered = []task.Registry{{}}, true }, true},
	} {
		row := &task.Task{Desired: task.DesiredRunning, Observed: task.Observed{State: task.Running, HealthySince: &since}}
		tc.change(row)
		if got := row.Serving(); got != tc.want {
			t.Errorf("%s: Serving = %v, want %v", tc.name, got, tc.want)
		}
	}
}

// TestThreshold checks the failures that end a rollout (ECS Developer Guide, "How the Amazon ECS deployment circuit
// breaker detects failures").
func TestThreshold(t *testing.T) {
	for _, tc := range []struct {
		kind                 string
		value, desired, want int
	}{
		{"", 0, 1, 3}, {"", 0, 25, 13}, {"", 0, 400, 200}, {"", 0, 800, 200},
		{task.ThresholdCount, 5, 100, 5}, {task.ThresholdCount, 0, 100, 1},
		{task.ThresholdBoundedPercent, 10, 10, 3}, {task.ThresholdBoundedPercent, 10, 101, 11},
		{task.ThresholdBoundedPercent, 100, 300, 200},
		{task.ThresholdUnboundedPercent, 10, 10, 1}, {task.ThresholdUnboundedPercent, 100, 300, 300},
		{task.ThresholdUnboundedPercent, 1, 0, 1},
	} {
		b := &task.Breaker{Type: tc.kind, Value: tc.value}
		if got := b.Threshold(tc.desired); got != tc.want {
			t.Errorf("%q %d of %d: threshold %d, want %d", tc.kind, tc.value, tc.desired, got, tc.want)
		}
	}
}

// TestServiceDeployments runs scripts of "deploy N", "begin", "finish", "fail", "rollback N", "stop" and "abort". want
// has the statuses of the service deployments, oldest first, then the numbers of the deployments, newest first. Before
// each script, deployment 1 has completed.
func TestServiceDeployments(t *testing.T) {
	for _, tc := range []struct{ script, want string }{
		{"deploy 2", "PENDING: 2 1"},
		{"deploy 2; begin", "IN_PROGRESS: 2 1"},
		{"deploy 2; begin; finish", "SUCCESSFUL: 2 1"},
		{"deploy 2; begin; fail", "STOPPED: 2 1"},
		{"deploy 2; begin; finish; fail", "SUCCESSFUL: 2 1"},
		{"deploy 2; begin; deploy 3", "STOPPED PENDING: 3 2 1"},
		{"deploy 2; begin; rollback 3", "ROLLBACK_IN_PROGRESS: 3 2 1"},
		{"deploy 2; begin; rollback 3; finish", "ROLLBACK_SUCCESSFUL: 3 2 1"},
		{"deploy 2; begin; rollback 3; fail", "ROLLBACK_FAILED: 3 2 1"},
		{"deploy 2; begin; stop", "ROLLBACK_REQUESTED: 2 1"},
		{"deploy 2; begin; stop; stop", "ROLLBACK_REQUESTED: 2 1"},
		{"deploy 2; begin; abort", "STOP_REQUESTED: 2 1"},
		{"deploy 2; begin; finish; stop", "SUCCESSFUL: 2 1, in use"},
		{"deploy 2; begin; finish; begin", "SUCCESSFUL: 2 1"},
	} {
		w := newWorld(t)
		w.service(nil)
		result := "ok"
		for step := range strings.SplitSeq(tc.script, "; ") {
			verb, number, _ := strings.Cut(step, " ")
			result = w.write(func(tx *store.Tx) error {
				old, _ := task.FindService(tx, web)
				s := *old
				s.Deployments = slices.Clone(s.Deployments)
				switch verb {
				case "deploy":
					d := task.NewDeployment(task.Deployment{ID: task.DeploymentID(number), Family: "web", Revision: 2}, noon)
					task.Deploy(tx, &s, d, "id-"+number, nil, noon.Add(time.Duration(len(s.Deployments))*time.Second))
				case "begin":
					task.BeginServiceDeployment(tx, &s, noon)
				case "finish":
					task.FinishServiceDeployment(tx, &s, noon)
				case "fail":
					task.FailServiceDeployment(tx, &s, "failed", noon)
				case "rollback":
					task.RollBack(tx, &s, task.Rollback{Number: number, Reason: "failed", Started: noon})
				case "stop":
					return task.StopServiceDeployment(tx, web, s.ServiceDeployment, task.StopRollback, noon)
				case "abort":
					return task.StopServiceDeployment(tx, web, s.ServiceDeployment, task.StopAbort, noon)
				}
				task.PutService(tx, s)
				return nil
			})
		}
		var statuses, numbers []string
		for _, d := range slices.Backward(task.ServiceDeployments(w.db.Snapshot(), web)) {
			statuses = append(statuses, string(d.Status))
		}
		s, _ := task.FindService(w.db.Snapshot(), web)
		for i := range s.Deployments {
			numbers = append(numbers, s.Deployments[i].Number())
		}
		got := strings.Join(statuses, " ") + ": " + strings.Join(numbers, " ")
		if result != "ok" {
			got += ", " + result
		}
		if got != tc.want {
			t.Errorf("%s: %s, want %s", tc.script, got, tc.want)
		}
	}
}

// TestPrune checks that KeptServiceDeployments service deployments remain, with the revisions to which they refer.
func TestPrune(t *testing.T) {
	w := newWorld(t)
	w.service(nil)
	const deployments = task.KeptServiceDeployments + 5
	for n := 2; n < deployments+2; n++ {
		w.write(func(tx *store.Tx) error {
			old, _ := task.FindService(tx, web)
			s := *old
			s.Deployments = s.Deployments[:1] // the older deployments have no tasks
			d := task.NewDeployment(task.Deployment{ID: task.DeploymentID(fmt.Sprint(n)), Family: "web"}, noon)
			task.Deploy(tx, &s, d, fmt.Sprint("id-", n), nil, noon.Add(time.Duration(n)*time.Second))
			task.PutService(tx, s)
			return nil
		})
	}
	kept := task.ServiceDeployments(w.db.Snapshot(), web)
	if len(kept) != task.KeptServiceDeployments || kept[0].ID != fmt.Sprint("id-", deployments+1) {
		t.Errorf("%d service deployments remain, the newest is %s", len(kept), kept[0].ID)
	}
	for n, want := range map[int]bool{3: false, 5: false, 6: true, 7: true, deployments + 1: true} {
		if _, ok := task.FindServiceRevision(w.db.Snapshot(), web, fmt.Sprint(n)); ok != want {
			t.Errorf("service revision %d exists: %v, want %v", n, ok, want)
		}
	}
}

// TestProtect checks the reasons that ECS gives for tasks that cannot be protected.
func TestProtect(t *testing.T) {
	later := noon.Add(time.Hour)
	for _, tc := range []struct {
		name, id, want string
		duration       time.Duration
		change         func(*task.Task)
	}{
		{"running task of a service", "1", "", time.Minute, nil},
		{"end of the protection", "1", "", 0, nil},
		{"missing task", "2", "MISSING", time.Minute, nil},
		{"standalone task", "1", "TASK_NOT_VALID", time.Minute, func(t *task.Task) { t.Service = "" }},
		{"stopping task", "1", "TASK_NOT_VALID", time.Minute, func(t *task.Task) { t.Observed.State = task.Stopping }},
		{"another task is protected", "1", "DEPLOYMENT_BLOCKED", time.Minute, func(t *task.Task) {
			t.ID, t.ProtectedUntil = "0", &later
		}},
	} {
		w := newWorld(t)
		w.service(nil)
		w.run("1", tc.change)
		if tc.want == "DEPLOYMENT_BLOCKED" {
			w.run("1", nil)
		}
		_, err := store.Update(t.Context(), w.db, func(tx *store.Tx) (*task.Task, error) {
			return task.Protect(tx, ref(task.ID(tc.id)), tc.duration, noon)
		})
		if got := task.ProtectionFailure(err); got != tc.want || (err == nil) != (tc.want == "") {
			t.Errorf("%s: %q (%v), want %q", tc.name, got, err, tc.want)
		}
		row, err := task.GetTask(w.db.Snapshot(), ref("1"))
		if want := tc.want == "" && tc.duration > 0; err == nil && row.Protected(noon) != want {
			t.Errorf("%s: protected %v, want %v", tc.name, !want, want)
		}
	}
}

// TestDelete checks when clusters and services can be deleted, and when a name of a service is free.
func TestDelete(t *testing.T) {
	deleteCluster := func(tx *store.Tx) error { _, err := task.DeleteCluster(tx, sc, "prod"); return err }
	deleteService := func(force bool) func(*store.Tx) error {
		return func(tx *store.Tx) error { _, err := task.DeleteService(tx, web, force, noon); return err }
	}
	reserve := func(request string) func(*store.Tx) error {
		return func(tx *store.Tx) error { _, err := task.ReserveServiceName(tx, web, request); return err }
	}
	for _, tc := range []struct {
		name   string
		change func(*task.Service)
		call   func(*store.Tx) error
		want   string
	}{
		{"cluster with an active service", nil, deleteCluster, "in use"},
		{"cluster with a draining service", func(s *task.Service) { s.Status = task.DrainingStatus }, deleteCluster,
			"in use"},
		{"cluster with an inactive service", func(s *task.Service) { s.Status = task.Inactive }, deleteCluster, "ok"},
		{"service with a desired count", nil, deleteService(false), "invalid"},
		{"service with a desired count, forced", nil, deleteService(true), "ok"},
		{"service scaled to 0", func(s *task.Service) { s.DesiredCount = 0 }, deleteService(false), "ok"},
		{"daemon service", func(s *task.Service) { s.Daemon = true }, deleteService(false), "ok"},
		{"service that is already deleted", func(s *task.Service) { s.Status = task.Inactive }, deleteService(false), "ok"},
		{"name of an active service", nil, reserve("other"), "exists"},
		{"repeat of the request", func(s *task.Service) { s.Request = "same" }, reserve("same"), "ok"},
		{"name of a draining service", func(s *task.Service) { s.Status = task.DrainingStatus }, reserve("other"), "invalid"},
		{"name of an inactive service", func(s *task.Service) { s.Status = task.Inactive }, reserve("other"), "ok"},
	} {
		w := newWorld(t)
		w.service(tc.change)
		if got := w.write(tc.call); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

// TestReapServices checks that inactive services are deleted after the retention, with their events.
func TestReapServices(t *testing.T) {
	w := newWorld(t)
	w.service(func(s *task.Service) { s.Status, s.Deleted = task.Inactive, &noon })
	reap := func(now time.Time) bool {
		w.write(func(tx *store.Tx) error { task.ReapServices(tx, now, 10); return nil })
		_, ok := task.FindService(w.db.Snapshot(), web)
		return ok
	}
	if !reap(noon.Add(task.InactiveRetention - 1)) {
		t.Error("the service was deleted before the end of the retention")
	}
	if reap(noon.Add(task.InactiveRetention)) {
		t.Error("the service remains after the retention")
	}
}

// TestEvents checks the order and the number of the events that are kept.
func TestEvents(t *testing.T) {
	w := newWorld(t)
	w.service(nil)
	svc, _ := task.FindService(w.db.Snapshot(), web)
	for n := range task.MaxEvents + 2 {
		w.write(func(tx *store.Tx) error {
			task.AddEvent(tx, svc, task.Event{ID: fmt.Sprint(n), Created: noon.Add(time.Duration(n)), Message: "changed."})
			return nil
		})
	}
	es := task.Events(w.db.Snapshot(), svc)
	if len(es) != task.MaxEvents || es[0].ID != fmt.Sprint(task.MaxEvents+1) || es[len(es)-1].ID != "2" {
		t.Errorf("%d events from %s to %s", len(es), es[0].ID, es[len(es)-1].ID)
	}
	if last, ok := task.LastEvent(w.db.Snapshot(), svc); !ok || last.Message != "(service web) changed." {
		t.Errorf("last event %+v", last)
	}
}

// TestClearances checks that clearances exist only while a task drains.
func TestClearances(t *testing.T) {
	w := newWorld(t)
	w.run("1", nil)
	add := func() bool {
		w.write(func(tx *store.Tx) error { task.AddClearance(tx, ref("1"), "n1"); return nil })
		return task.HasClearance(w.db.Snapshot(), ref("1"), "n1")
	}
	set := func(r task.Registration) {
		w.write(func(tx *store.Tx) error { task.SetRegistration(tx, ref("1"), r, false); return nil })
	}
	if add() {
		t.Error("a task that does not drain has a clearance")
	}
	set(task.Draining)
	if !add() {
		t.Error("a draining task has no clearance")
	}
	set(task.Released)
	if task.HasClearance(w.db.Snapshot(), ref("1"), "n1") {
		t.Error("a released task has a clearance")
	}
}

// TestProviders checks that a capacity provider in use cannot be removed.
func TestProviders(t *testing.T) {
	strategy := func(s *task.Service) { s.Deployments[0].Strategy = []task.StrategyItem{{Provider: "blue", Weight: 1}} }
	inactive := func(s *task.Service) { strategy(s); s.Status = task.Inactive }
	for _, tc := range []struct {
		name    string
		service func(*task.Service)
		task    string // the provider of a running task
		remove  string
		want    string
	}{
		{"unused", nil, "", "blue", "ok"},
		{"used by a service", strategy, "", "blue", "in use"},
		{"used by an inactive service", inactive, "", "blue", "ok"},
		{"used by a task", nil, "blue", "blue", "in use"},
		{"another provider is used", strategy, "blue", "green", "ok"},
	} {
		w := newWorld(t)
		w.service(tc.service)
		w.run("1", func(t *task.Task) { t.CapacityProvider = tc.task })
		got := w.write(func(tx *store.Tx) error {
			names := slices.DeleteFunc([]string{"blue", "green"}, func(name string) bool { return name == tc.remove })
			c, _ := task.FindCluster(tx, sc, "prod")
			next := *c
			next.Providers = []string{"blue", "green"}
			return task.SetClusterProviders(tx, &next, names)
		})
		if got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestResources(t *testing.T) {
	for _, tc := range []struct {
		name string
		def  task.Definition
		want string
	}{
		{"limits of the containers", task.Definition{Containers: []task.ContainerDefinition{{CPU: 10, Memory: 20},
			{CPU: 1, MemoryReservation: 2}}}, "{11 22 []}"},
		{"reservation before limit", task.Definition{Containers: []task.ContainerDefinition{
			{Memory: 20, MemoryReservation: 5}}}, "{0 5 []}"},
		{"limits of the task", task.Definition{CPU: 256, Memory: 512, Containers: []task.ContainerDefinition{
			{CPU: 10, Memory: 20}}}, "{256 512 []}"},
		{"host ports", task.Definition{Containers: []task.ContainerDefinition{
			{Ports: []task.PortMapping{{HostPort: 80}, {HostPort: 53, Protocol: "udp"}, {HostPort: 80, Protocol: "tcp"},
				{ContainerPort: 1}}},
		}}, "{0 0 [{80 tcp} {53 udp}]}"},
		{"no host ports in awsvpc mode", task.Definition{NetworkMode: "awsvpc", Containers: []task.ContainerDefinition{
			{Ports: []task.PortMapping{{HostPort: 80}}},
		}}, "{0 0 []}"},
	} {
		if got := fmt.Sprint(tc.def.Resources()); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestMergeTags(t *testing.T) {
	many := func(n int, prefix string) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprint(prefix, i)] = ""
		}
		return m
	}
	for _, tc := range []struct {
		name   string
		tags   map[string]string
		add    map[string]string
		remove []string
		want   string
	}{
		{"add", map[string]string{"a": "1"}, map[string]string{"b": "2"}, nil, "map[a:1 b:2]"},
		{"replace", map[string]string{"a": "1"}, map[string]string{"a": "2"}, nil, "map[a:2]"},
		{"remove", map[string]string{"a": "1"}, nil, []string{"a", "b"}, "map[]"},
		{"too many", many(task.MaxTags, "k"), map[string]string{"a": "1"}, nil, "limit"},
		{"tags of ECS do not count", many(task.MaxTags, "aws:"), map[string]string{"a": "1"}, nil, "51"},
	} {
		next, err := task.MergeTags(tc.tags, tc.add, tc.remove)
		got := fmt.Sprint(next)
		if len(next) > 10 {
			got = fmt.Sprint(len(next))
		}
		if fault.Is(err, fault.Limit) {
			got = "limit"
		}
		if got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

// TestContainerInstances checks custom attributes, and that a deregistered instance returns with its node.
func TestContainerInstances(t *testing.T) {
	w := newWorld(t)
	get := func() *task.ContainerInstance { return task.FindInstance(w.db.Snapshot(), prod, "n1") }
	put := func(n int) string {
		return w.write(func(tx *store.Tx) error {
			attributes := map[string]string{}
			for i := range n {
				attributes[fmt.Sprint("a", i)] = ""
			}
			return task.PutAttributes(tx, *task.FindInstance(tx, prod, "n1"), attributes)
		})
	}
	if got := put(task.MaxAttributes + 1); got != "limit" {
		t.Errorf("too many attributes: %s", got)
	}
	if got := put(task.MaxAttributes); got != "ok" || len(get().Attributes) != task.MaxAttributes {
		t.Errorf("%s, %d attributes", got, len(get().Attributes))
	}
	w.write(func(tx *store.Tx) error { task.DeregisterInstance(tx, *task.FindInstance(tx, prod, "n1")); return nil })
	if c := get(); c.Status != task.Inactive || c.Attributes != nil {
		t.Errorf("deregistered: %+v", c)
	}
	w.write(func(tx *store.Tx) error { task.ReactivateInstances(tx, "n1"); return nil })
	if c := get(); c.Status != task.Active || c.Version != 1 {
		t.Errorf("after the node's start: %+v", c)
	}
}

// TestKeys pins the keys of the rows, which must not change, and the ids that are derived from others.
func TestKeys(t *testing.T) {
	for got, want := range map[string]string{
		prod.Key():              "eu-west-1/prod",
		web.Key():               "eu-west-1/prod/web",
		ref("7f3a").Key():       "eu-west-1/prod/7f3a",
		ref("7f3a").ARN():       "arn:aws:ecs:eu-west-1:123456789012:task/prod/7f3a",
		web.ARN():               "arn:aws:ecs:eu-west-1:123456789012:service/prod/web",
		prod.ARN():              "arn:aws:ecs:eu-west-1:123456789012:cluster/prod",
		task.DeploymentID("12"): "ecs-svc/12",
		task.SettingRef{Scope: sc, Name: "n", Principal: "arn:p"}.Key(): "eu-west-1/n/arn:p",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if a, b := task.TokenID(prod, "token", 0), task.TokenID(prod, "token", 0); a != b ||
		a == task.TokenID(prod, "token", 1) {
		t.Error("TokenID does not depend on the token and the number alone")
	}
	if a, b := task.NewID(), task.NewID(); a == b || len(a) != 32 {
		t.Errorf("NewID returned %s and %s", a, b)
	}
}
