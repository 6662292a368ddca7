package rollout

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
	"github.com/bakingclouds/rollcall/internal/task"
)

var (
	scope = arn.Scope{Account: "123456789012", Region: "eu-west-1"}
	web   = task.ServiceRef{Scope: scope, Cluster: "default", Name: "web"}
)

// world runs the loop on a real store. The tests write what agents would write.
type world struct {
	*testing.T
	db     *store.Store
	r      *rollout
	marked map[string]bool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, db: storetest.Open(t, task.Schema()...), marked: map[string]bool{}}
	w.r = newRollout(w.db)
	w.db.Follow(func(c store.Change) {
		w.r.apply(c, func(key string) { w.marked[key] = true })
	}, task.Schema()...)
	return w
}

func (w *world) write(fn func(tx *store.Tx) error) {
	w.Helper()
	_, err := store.Update(w.Context(), w.db, func(tx *store.Tx) (struct{}, error) { return struct{}{}, fn(tx) })
	if err != nil {
		w.Fatal(err)
	}
}

// deploy deploys a revision of the service. The first call creates the service, with a circuit breaker that rolls back.
func (w *world) deploy(revision int) {
	w.Helper()
	w.write(func(tx *store.Tx) error {
		svc := task.Service{
			Account: scope.Account, Region: scope.Region, Cluster: "default", Name: "web", Status: task.Active,
			DesiredCount: 3, MinimumHealthy: 100, Maximum: 200, Breaker: &task.Breaker{Rollback: true},
		}
		if old, ok := task.FindService(tx, web); ok {
			svc = *old
		}
		now := time.Now()
		ids := task.NewDeploymentIDs()
		d := task.NewDeployment(task.Deployment{ID: ids.Deployment, Family: "web", Revision: revision}, now)
		task.Deploy(tx, &svc, d, ids.ServiceDeployment, nil, now)
		task.PutService(tx, svc)
		return nil
	})
}

func (w *world) service() *task.Service {
	svc, _ := task.FindService(w.db.Snapshot(), web)
	return svc
}

// edit changes the row of the service.
func (w *world) edit(edit func(*task.Service)) {
	w.Helper()
	w.write(func(tx *store.Tx) error {
		svc := *w.service()
		edit(&svc)
		task.PutService(tx, svc)
		return nil
	})
}

// settle reconciles until nothing changes. The tasks of good revisions become healthy, all others fail.
func (w *world) settle(good ...int) {
	w.Helper()
	for range 50 {
		before := w.db.Applied()
		if _, err := w.r.reconcile(w.Context(), w.service().Key()); err != nil {
			w.Fatal(err)
		}
		w.runAgents(good...)
		if w.db.Applied() == before {
			return
		}
	}
	w.Fatalf("the service does not settle: %s", w.deployments())
}

// runAgents writes what agents report next: tasks of good revisions run and are healthy, all others fail, and tasks
// that are to stop have stopped.
func (w *world) runAgents(good ...int) {
	w.Helper()
	now := time.Now()
	for _, t := range task.TasksOf(w.db.Snapshot(), web) {
		runs := slices.Contains(good, t.Revision)
		w.write(func(tx *store.Tx) error {
			return task.UpdateTask(tx, task.Ref{Scope: scope, Cluster: "default", ID: t.ID}, func(t *task.Task) bool {
				switch o := &t.Observed; {
				case t.Desired == task.DesiredStopped && o.State != task.Stopped:
					o.State, o.StoppedAt, o.HealthySince = task.Stopped, &now, nil
				case t.Desired == task.DesiredStopped || o.State == task.Running:
					return false
				case runs:
					t.Checked = true
					o.State, o.StartedAt, o.HealthySince, o.Health = task.Running, &now, &now, task.HealthHealthy
				default:
					t.Desired, t.StopCode, t.StoppingAt = task.DesiredStopped, task.EssentialContainerExited, &now
					t.StoppedReason = "Essential container in task exited"
					o.State, o.StoppedAt = task.Stopped, &now
				}
				return true
			})
		})
	}
}

// deployments lists the deployments of the service as "revision STATE running-tasks".
func (w *world) deployments() string {
	var words []string
	svc := w.service()
	tasks := task.TasksOf(w.db.Snapshot(), web)
	for _, d := range svc.Deployments {
		words = append(words, fmt.Sprintf("%d %s %d", d.Revision, d.Rollout, task.CountTasks(tasks, d.ID).Running))
	}
	return strings.Join(words, ", ")
}

func (w *world) serviceDeployment() *task.ServiceDeployment {
	d, ok := task.FindServiceDeployment(w.db.Snapshot(), web, w.service().ServiceDeployment)
	if !ok {
		w.Fatal("service deployment not found")
	}
	return d
}

// want checks the deployments and the status of the newest service deployment.
func (w *world) want(deployments string, status task.ServiceDeploymentStatus) {
	w.Helper()
	if got := w.deployments(); got != deployments {
		w.Errorf("deployments %q, want %q", got, deployments)
	}
	if d := w.serviceDeployment(); d.Status != status {
		w.Errorf("service deployment %s (%s), want %s", d.Status, d.Reason, status)
	}
}

// events lists the events of the service, the oldest first, without the ids of tasks and the events of single tasks.
func (w *world) events() string {
	var lines []string
	for _, e := range task.Events(w.db.Snapshot(), w.service()) {
		line, _, _ := strings.Cut(strings.TrimPrefix(e.Message, "(service web) "), ": (task")
		if !strings.HasPrefix(line, "(task") {
			lines = append([]string{line}, lines...)
		}
	}
	return strings.Join(lines, "\n")
}

// TestRollback checks that a revision whose tasks fail trips the breaker, and that the last completed revision is
// deployed again under a new id. The service deployments and the events record it.
func TestRollback(t *testing.T) {
	w := newWorld(t)
	w.deploy(1)
	if d := w.serviceDeployment(); d.Status != task.ServiceDeploymentPending || len(d.Sources) != 0 {
		t.Errorf("first service deployment: %+v, want PENDING without sources", d)
	}
	w.settle(1)
	w.want("1 COMPLETED 3", task.ServiceDeploymentSuccessful)
	first := *w.service().Primary()

	w.deploy(2)
	w.settle(1)
	w.want("1 COMPLETED 3", task.RollbackSuccessful)
	back, d := w.service().Primary(), w.serviceDeployment()
	if back.ID == first.ID || !back.RollsBack || back.FailedTasks != 0 {
		t.Errorf("deployment of the rollback: %+v", back)
	}
	if d.Rollback == nil || d.Rollback.Number != back.Number() || d.Started == nil || d.Finished == nil ||
		len(d.Sources) != 1 || d.Sources[0] != first.Number() {
		t.Errorf("service deployment: %+v", d)
	}
	if want := (task.BreakerCount{Tripped: true, Failures: 3, Threshold: 3}); d.Breaker == nil || *d.Breaker != want {
		t.Errorf("circuit breaker of the service deployment: %+v, want %+v", d.Breaker, want)
	}
	for _, number := range []string{first.Number(), d.Target, back.Number()} {
		if _, ok := task.FindServiceRevision(w.db.Snapshot(), web, number); !ok {
			t.Errorf("service revision %s was deleted", number)
		}
	}
	failed := task.DeploymentID(d.Target)
	want := strings.Join([]string{
		"has started 3 tasks", "(deployment " + first.ID + ") deployment completed.", "has reached a steady state.",
		"has started 3 tasks", "(deployment " + failed + ") deployment failed: tasks failed to start.",
		"rolling back to deployment " + first.ID + ".",
		"has started 3 tasks", "has stopped 3 running tasks", "(deployment " + back.ID + ") deployment completed.",
		"has reached a steady state.",
	}, "\n")
	if got := w.events(); got != want {
		t.Errorf("events\n%s\nwant\n%s", got, want)
	}

	w.deploy(3) // rolls back to the deployment of the rollback
	w.settle(1)
	w.want("1 COMPLETED 3", task.RollbackSuccessful)
	if got := w.service().Primary().Reason; !strings.HasSuffix(got, "completed.") {
		t.Errorf("reason %q, want one that ends in \"completed.\"", got)
	}
}

// TestNoRollback checks that without a rollback a failed rollout starts nothing and the old tasks keep running.
func TestNoRollback(t *testing.T) {
	w := newWorld(t)
	w.deploy(1)
	w.settle(1)
	w.edit(func(svc *task.Service) { svc.Breaker = &task.Breaker{} })
	w.deploy(2)
	w.settle(1)
	w.want("2 FAILED 0, 1 COMPLETED 3", task.ServiceDeploymentStopped)
	p := w.service().Primary()
	if p.FailedTasks != 3 || p.Reason != "ECS deployment circuit breaker: tasks failed to start." {
		t.Errorf("failed deployment: %+v", p)
	}
	w.deploy(3)
	w.settle(1, 3)
	w.want("3 COMPLETED 3", task.ServiceDeploymentSuccessful)
}

// TestFirstDeploymentFails checks that the first deployment of a service fails without a rollback.
func TestFirstDeploymentFails(t *testing.T) {
	w := newWorld(t)
	w.deploy(1)
	w.settle()
	w.want("1 FAILED 0", task.ServiceDeploymentStopped)
}

// TestRollbackFails checks that a rollback whose tasks fail is not rolled back.
func TestRollbackFails(t *testing.T) {
	w := newWorld(t)
	w.deploy(1)
	w.settle(1)
	w.deploy(2)
	w.settle()
	w.want("1 FAILED 0, 1 COMPLETED 3", task.RollbackFailed)
}

// TestUpdateDuringRollback checks that an update supersedes a rollback, and that a later rollback still returns to
// the last completed deployment.
func TestUpdateDuringRollback(t *testing.T) {
	w := newWorld(t)
	w.deploy(1)
	w.settle(1)
	w.deploy(2)
	for w.serviceDeployment().Status != task.RollbackInProgress {
		w.reconcile()
		w.runAgents(1)
	}
	rollback := w.serviceDeployment()
	w.deploy(3)
	d, _ := task.FindServiceDeployment(w.db.Snapshot(), web, rollback.ID)
	if d.Status != task.ServiceDeploymentStopped ||
		d.Reason != "Superseded by the service deployment "+w.serviceDeployment().ARN()+"." {
		t.Errorf("superseded rollback: %+v", d)
	}
	w.settle(1, 3)
	w.want("3 COMPLETED 3", task.ServiceDeploymentSuccessful)

	w.deploy(2)
	for w.serviceDeployment().Status != task.RollbackInProgress {
		w.reconcile()
		w.runAgents(1, 3)
	}
	w.deploy(4) // fails during a rollback to 3
	w.settle(1, 3)
	w.want("3 COMPLETED 3", task.RollbackSuccessful)
}

func (w *world) reconcile() {
	w.Helper()
	if _, err := w.r.reconcile(w.Context(), w.service().Key()); err != nil {
		w.Fatal(err)
	}
}

// TestStop checks StopServiceDeployment with and without a rollback.
func TestStop(t *testing.T) {
	w := newWorld(t)
	stop := func(how task.StopMode) error {
		_, err := store.Update(t.Context(), w.db, func(tx *store.Tx) (struct{}, error) {
			id := w.service().ServiceDeployment
			return struct{}{}, task.StopServiceDeployment(tx, web, id, how, time.Now())
		})
		return err
	}
	w.deploy(1)
	if err := stop(task.StopRollback); err == nil {
		t.Error("StopServiceDeployment rolls back a first deployment, want an error")
	}
	w.settle(1)
	if err := stop(task.StopRollback); err == nil {
		t.Error("StopServiceDeployment stops a completed deployment, want an error")
	}
	w.deploy(2)
	w.reconcile()
	if err := stop(task.StopRollback); err != nil || w.serviceDeployment().Status != task.RollbackRequested {
		t.Errorf("stop with rollback: error %v, status %s", err, w.serviceDeployment().Status)
	}
	if err := stop(task.StopRollback); err != nil {
		t.Errorf("second stop with rollback: %v", err)
	}
	w.settle(1, 2)
	w.want("1 COMPLETED 3", task.RollbackSuccessful)

	w.deploy(2)
	w.reconcile()
	if err := stop(task.StopAbort); err != nil || w.serviceDeployment().Status != task.ServiceDeploymentStopping {
		t.Errorf("stop without rollback: error %v, status %s", err, w.serviceDeployment().Status)
	}
	w.settle(1, 2)
	w.want("2 FAILED 0, 1 COMPLETED 3", task.ServiceDeploymentStopped)
}

// TestDesiredCountDuringDeployment checks that a new desired count applies to a rollout that is in progress.
func TestDesiredCountDuringDeployment(t *testing.T) {
	w := newWorld(t)
	w.deploy(1)
	w.settle(1)
	w.deploy(2)
	w.reconcile()
	w.edit(func(svc *task.Service) { svc.DesiredCount = 5 })
	w.settle(1, 2)
	w.want("2 COMPLETED 5", task.ServiceDeploymentSuccessful)
	w.deploy(3)
	w.reconcile()
	w.edit(func(svc *task.Service) { svc.DesiredCount = 1 })
	w.settle(2, 3)
	w.want("3 COMPLETED 1", task.ServiceDeploymentSuccessful)
}

// TestHistoryIsBounded checks that the last twenty service deployments stay, with their service revisions.
func TestHistoryIsBounded(t *testing.T) {
	w := newWorld(t)
	w.deploy(1)
	w.settle(1)
	first := w.service().Primary().Number()
	for n := range task.KeptServiceDeployments + 5 {
		w.deploy(n + 2)
	}
	kept := task.ServiceDeployments(w.db.Snapshot(), web)
	if len(kept) != task.KeptServiceDeployments || kept[0].ID != w.service().ServiceDeployment {
		t.Errorf("%d service deployments are left, the newest is %s; want %d, %s",
			len(kept), kept[0].ID, task.KeptServiceDeployments, w.service().ServiceDeployment)
	}
	for _, d := range kept {
		if _, ok := task.FindServiceRevision(w.db.Snapshot(), web, d.Target); !ok {
			t.Errorf("service revision %s was deleted before its service deployment", d.Target)
		}
	}
	if _, ok := task.FindServiceRevision(w.db.Snapshot(), web, first); !ok {
		t.Error("the service revision that a rollback would deploy was deleted")
	}
}

// TestStalePlan checks that a plan for a service's row that has changed since writes nothing.
func TestStalePlan(t *testing.T) {
	w := newWorld(t)
	w.deploy(1)
	stale := w.service()
	w.edit(func(svc *task.Service) { svc.DesiredCount = 1 })
	for _, tc := range []struct {
		name    string
		svc     *task.Service
		current bool
		tasks   int
	}{
		{"stale row", stale, false, 0},
		{"current row", w.service(), true, 3},
	} {
		ch := Changes{Start: 3, KeepDeployments: []string{tc.svc.Primary().ID}}
		current, err := w.r.commit(t.Context(), tc.svc, ch, noon)
		if err != nil || current != tc.current {
			t.Errorf("%s: commit = %v, %v; want %v", tc.name, current, err, tc.current)
		}
		if n := len(task.TasksOf(w.db.Snapshot(), web)); n != tc.tasks {
			t.Errorf("%s: %d tasks, want %d", tc.name, n, tc.tasks)
		}
	}
}

// TestStalePlanForTasks checks that a plan writes nothing if a task that it stops or counts has changed since. A client
// may have protected the task, for example.
func TestStalePlanForTasks(t *testing.T) {
	w := newWorld(t)
	w.deploy(1)
	w.settle(1)
	svc := w.service()
	tk := task.TasksOf(w.db.Snapshot(), web)[0]
	keep := []string{svc.Primary().ID}
	plans := []Changes{
		{Stop: []Stop{{tk, scalingReason(svc.Primary())}}, DesiredCount: 3, KeepDeployments: keep},
		{CountFailed: []*task.Task{tk}, Failures: task.Failures{FailedTasks: 1}, DesiredCount: 3, KeepDeployments: keep},
	}
	until := time.Now().Add(time.Hour)
	w.write(func(tx *store.Tx) error {
		return task.UpdateTask(tx, tk.Ref(), func(t *task.Task) bool { t.ProtectedUntil = &until; return true })
	})
	protected, _ := task.GetTask(w.db.Snapshot(), tk.Ref())
	for _, ch := range plans {
		if current, err := w.r.commit(t.Context(), svc, ch, time.Now()); err != nil || current {
			t.Errorf("commit of the stale plan %q = %v, %v; want false", ch, current, err)
		}
		if row, _ := task.GetTask(w.db.Snapshot(), tk.Ref()); row != protected || w.service() != svc {
			t.Errorf("the stale plan %q was written: %+v", ch, row)
		}
	}
}

// TestIsRepeat checks which events repeat the history. A history is a list of events, the newest first: b is the event
// that is about to be added, s a steady state, o another one. A number is the event's age in hours.
func TestIsRepeat(t *testing.T) {
	messages := map[byte]string{'b': blockedByBounds, 's': steadyState, 'o': "has started 1 tasks: (task 1)."}
	for _, tc := range []struct {
		name, history string
		want          bool
	}{
		{"no event", "", false},
		{"same event", "b1", true},
		{"same event, not the newest", "o1 b2", true},
		{"same event, too old", "b6", false},
		{"steady state since", "s1 b2", false},
		{"steady state before", "b1 s2", true},
		{"only other events", "o1 s2", false},
	} {
		var history []*task.Event
		for word := range strings.FieldsSeq(tc.history) {
			age := time.Duration(word[1]-'0') * time.Hour
			message := "(service web) " + messages[word[0]]
			history = append(history, &task.Event{Created: noon.Add(-age), Message: message})
		}
		if got := isRepeat(history, blockedByBounds, noon); got != tc.want {
			t.Errorf("%s: isRepeat(%q) = %v, want %v", tc.name, tc.history, got, tc.want)
		}
	}
}

// TestEventsAreNotRepeated checks that a state that does not change adds one event.
func TestEventsAreNotRepeated(t *testing.T) {
	w := newWorld(t)
	w.deploy(1)
	w.settle(1)
	w.edit(func(svc *task.Service) { svc.Maximum = 125 })
	w.deploy(2)
	for range 3 {
		w.reconcile()
		w.edit(func(svc *task.Service) { svc.GracePeriod += time.Second })
	}
	if n := strings.Count(w.events(), blockedByBounds); n != 1 {
		t.Errorf("event %q was added %d times, want once", blockedByBounds, n)
	}
}

// TestDaemonFollowsNodes checks that a DAEMON service starts a task on each new node.
func TestDaemonFollowsNodes(t *testing.T) {
	w := newWorld(t)
	w.deploy(1)
	w.edit(func(svc *task.Service) {
		svc.Daemon, svc.DesiredCount, svc.MinimumHealthy, svc.Maximum = true, 0, 0, 100
	})
	w.settle(1)
	w.want("1 COMPLETED 0", task.ServiceDeploymentSuccessful)
	for n := range 2 {
		clear(w.marked)
		name := fmt.Sprint("node", n)
		leave, err := task.KeepAlive(t.Context(), w.db, name)
		if err != nil {
			t.Fatal(err)
		}
		defer leave()
		w.write(func(tx *store.Tx) error { task.PutNode(tx, task.Node{Name: name, Runtime: "process"}); return nil })
		if !w.marked[w.service().Key()] {
			t.Error("a new node did not mark the service")
		}
		w.settle(1)
		if got := w.service().DesiredCount; got != n+1 {
			t.Errorf("desired count with %d nodes = %d, want %d", n+1, got, n+1)
		}
	}
	perNode := map[string]int{}
	for _, tk := range task.TasksOf(w.db.Snapshot(), web) {
		perNode[tk.OnlyNode]++
	}
	if w.deployments() != "1 COMPLETED 2" || perNode["node0"] != 1 || perNode["node1"] != 1 {
		t.Errorf("got %s, tasks per node %v; want 1 COMPLETED 2, one task per node", w.deployments(), perNode)
	}
}
