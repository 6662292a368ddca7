package rollout

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
	"github.com/bakingclouds/rollcall/internal/task"
)

var scope = arn.Scope{Account: "123456789012", Region: "eu-west-1"}

// world is the loop over a real store; what agents would write, the tests do.
type world struct {
	*testing.T
	db     *store.Store
	r      *rollout
	marked map[string]bool
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, db: storetest.Open(t, task.Schema()...), marked: map[string]bool{}}
	w.r = newRollout(w.db)
	w.db.Follow(w.r.take(func(key string) { w.marked[key] = true }), task.Schema()...)
	return w
}

func (w *world) write(fn func(tx *store.Tx) error) {
	w.Helper()
	if _, err := store.Update(w.Context(), w.db, func(tx *store.Tx) (struct{}, error) { return struct{}{}, fn(tx) }); err != nil {
		w.Fatal(err)
	}
}

// deploy deploys a revision of the service, which the first call makes with a circuit breaker that rolls back.
func (w *world) deploy(revision int) {
	w.Helper()
	w.write(func(tx *store.Tx) error {
		svc := task.Service{
			Account: scope.Account, Region: scope.Region, Cluster: "default", Name: "web", Status: task.Active, DesiredCount: 3,
			MinimumHealthy: 100, Maximum: 200, Breaker: &task.Breaker{Rollback: true},
		}
		if old, ok := task.FindService(tx, scope, "default", "web"); ok {
			svc = *old
		}
		now := time.Now()
		task.Deploy(tx, &svc, task.NewDeployment("web", revision, nil, nil, now), nil, now)
		task.PutService(tx, svc)
		return nil
	})
}

func (w *world) service() *task.Service {
	svc, _ := task.FindService(w.db.Snapshot(), scope, "default", "web")
	return svc
}

func (w *world) change(edit func(*task.Service)) {
	w.Helper()
	w.write(func(tx *store.Tx) error {
		svc := *w.service()
		edit(&svc)
		task.PutService(tx, svc)
		return nil
	})
}

// settle makes passes, and lets the tasks of good revisions turn healthy and those of others fail, until nothing
// changes any more.
func (w *world) settle(good ...int) {
	w.Helper()
	for range 50 {
		before := w.db.Applied()
		if _, err := w.r.reconcile(w.Context(), w.service().Key()); err != nil {
			w.Fatal(err)
		}
		w.agents(good...)
		if w.db.Applied() == before {
			return
		}
	}
	w.Fatalf("no end: %s", w.deployments())
}

func (w *world) agents(good ...int) {
	w.Helper()
	now := time.Now()
	for _, t := range task.TasksOf(w.db.Snapshot(), scope, "default", "web") {
		runs := false
		for _, g := range good {
			runs = runs || t.Revision == g
		}
		w.write(func(tx *store.Tx) error {
			return task.UpdateTask(tx, scope, "default", t.ID, func(t *task.Task) bool {
				switch o := &t.Observed; {
				case t.Desired == task.DesiredStopped && o.State != task.Stopped:
					o.State, o.StoppedAt, o.HealthySince = task.Stopped, &now, nil
				case t.Desired == task.DesiredStopped || o.State == task.Running:
					return false
				case runs:
					t.Checked = true
					o.State, o.StartedAt, o.HealthySince, o.Health = task.Running, &now, &now, task.HealthHealthy
				default:
					t.Desired, t.StopCode, t.StoppedReason, t.StoppingAt = task.DesiredStopped, task.EssentialContainerExited, "Essential container in task exited", &now
					o.State, o.StoppedAt = task.Stopped, &now
				}
				return true
			})
		})
	}
}

// deployments are the service's, as "revision STATE running".
func (w *world) deployments() string {
	var words []string
	svc := w.service()
	tasks := task.TasksOf(w.db.Snapshot(), scope, "default", "web")
	for _, d := range svc.Deployments {
		words = append(words, fmt.Sprintf("%d %s %d", d.Revision, d.Rollout, task.Count(tasks, d.ID).Running))
	}
	return strings.Join(words, ", ")
}

func (w *world) serviceDeployment() *task.ServiceDeployment {
	d, ok := task.FindServiceDeployment(w.db.Snapshot(), scope, "default", "web", w.service().ServiceDeployment)
	if !ok {
		w.Fatal("there is no service deployment")
	}
	return d
}

func (w *world) want(deployments string, status task.ServiceDeploymentStatus) {
	w.Helper()
	if got := w.deployments(); got != deployments {
		w.Errorf("deployments %q, want %q", got, deployments)
	}
	if d := w.serviceDeployment(); d.Status != status {
		w.Errorf("service deployment %s (%s), want %s", d.Status, d.Reason, status)
	}
}

// said are the service's events, the oldest first, without the ids of tasks.
func (w *world) said() string {
	var lines []string
	for _, e := range task.Events(w.db.Snapshot(), w.service()) {
		line, _, _ := strings.Cut(strings.TrimPrefix(e.Message, "(service web) "), ": (task")
		if !strings.HasPrefix(line, "(task") {
			lines = append([]string{line}, lines...)
		}
	}
	return strings.Join(lines, "\n")
}

// TestRollback: a revision whose tasks fail trips the breaker; the last completed one is brought back under a
// new id, and the history tells.
func TestRollback(t *testing.T) {
	w := newWorld(t)
	w.deploy(1)
	if d := w.serviceDeployment(); d.Status != task.ServiceDeploymentPending || len(d.Sources) != 0 {
		t.Errorf("at first: %+v", d)
	}
	w.settle(1)
	w.want("1 COMPLETED 3", task.ServiceDeploymentSuccessful)
	first := *w.service().Primary()

	w.deploy(2)
	w.settle(1)
	w.want("1 COMPLETED 3", task.RollbackSuccessful)
	back, d := w.service().Primary(), w.serviceDeployment()
	if back.ID == first.ID || !back.RollsBack || back.FailedTasks != 0 {
		t.Errorf("the rollback's deployment: %+v", back)
	}
	if d.Rollback == nil || d.Rollback.Number != back.Number() || d.Breaker == nil || *d.Breaker != (task.BreakerCount{Tripped: true, Failures: 3, Threshold: 3}) ||
		d.Started == nil || d.Finished == nil || len(d.Sources) != 1 || d.Sources[0] != first.Number() {
		t.Errorf("the service deployment: %+v", d)
	}
	for _, number := range []string{first.Number(), d.Target, back.Number()} {
		if _, ok := task.FindServiceRevision(w.db.Snapshot(), scope, "default", "web", number); !ok {
			t.Errorf("the service revision %s is not kept", number)
		}
	}
	failed := task.DeploymentID(d.Target)
	want := strings.Join([]string{
		"has started 3 tasks", "(deployment " + first.ID + ") deployment completed.", "has reached a steady state.",
		"has started 3 tasks", "(deployment " + failed + ") deployment failed: tasks failed to start.", "rolling back to deployment " + first.ID + ".",
		"has started 3 tasks", "has stopped 3 running tasks", "(deployment " + back.ID + ") deployment completed.", "has reached a steady state.",
	}, "\n")
	if got := w.said(); got != want {
		t.Errorf("events\n%s\nwant\n%s", got, want)
	}

	w.deploy(3) // the rollback is what the next one would go back to
	w.settle(1)
	if w.want("1 COMPLETED 3", task.RollbackSuccessful); !strings.HasSuffix(w.service().Primary().Reason, "completed.") {
		t.Errorf("reason %q", w.service().Primary().Reason)
	}
}

// TestNoRollback: without one, a failed rollout starts nothing any more, and the old tasks go on.
func TestNoRollback(t *testing.T) {
	w := newWorld(t)
	w.deploy(1)
	w.settle(1)
	w.change(func(svc *task.Service) { svc.Breaker = &task.Breaker{} })
	w.deploy(2)
	w.settle(1)
	w.want("2 FAILED 0, 1 COMPLETED 3", task.ServiceDeploymentStopped)
	if p := w.service().Primary(); p.FailedTasks != 3 || p.Reason != "ECS deployment circuit breaker: tasks failed to start." {
		t.Errorf("the failed deployment: %+v", p)
	}
	w.deploy(3)
	w.settle(1, 3)
	w.want("3 COMPLETED 3", task.ServiceDeploymentSuccessful)
}

// TestFirstDeploymentFails: there is nothing to roll back to.
func TestFirstDeploymentFails(t *testing.T) {
	w := newWorld(t)
	w.deploy(1)
	w.settle()
	w.want("1 FAILED 0", task.ServiceDeploymentStopped)
}

// TestRollbackFails: the revision that was completed once does not start any more. That is the end.
func TestRollbackFails(t *testing.T) {
	w := newWorld(t)
	w.deploy(1)
	w.settle(1)
	w.deploy(2)
	w.settle()
	w.want("1 FAILED 0, 1 COMPLETED 3", task.RollbackFailed)
}

// TestUpdateDuringRollback: the update is what counts from then on, and the last completed deployment is still
// what it would go back to.
func TestUpdateDuringRollback(t *testing.T) {
	w := newWorld(t)
	w.deploy(1)
	w.settle(1)
	w.deploy(2)
	for w.serviceDeployment().Status != task.RollbackInProgress {
		w.pass()
		w.agents(1)
	}
	rollback := w.serviceDeployment()
	w.deploy(3)
	if d, _ := task.FindServiceDeployment(w.db.Snapshot(), scope, "default", "web", rollback.ID); d.Status != task.ServiceDeploymentStopped ||
		d.Reason != "Superseded by the service deployment "+w.serviceDeployment().ARN()+"." {
		t.Errorf("the rollback that is superseded: %+v", d)
	}
	w.settle(1, 3)
	w.want("3 COMPLETED 3", task.ServiceDeploymentSuccessful)

	w.deploy(2)
	for w.serviceDeployment().Status != task.RollbackInProgress {
		w.pass()
		w.agents(1, 3)
	}
	w.deploy(4) // fails in the middle of a rollback to 3
	w.settle(1, 3)
	w.want("3 COMPLETED 3", task.RollbackSuccessful)
}

func (w *world) pass() {
	w.Helper()
	if _, err := w.r.reconcile(w.Context(), w.service().Key()); err != nil {
		w.Fatal(err)
	}
}

// TestStop: a rollout is stopped with a rollback, or where it is.
func TestStop(t *testing.T) {
	w := newWorld(t)
	stop := func(how string) error {
		_, err := store.Update(t.Context(), w.db, func(tx *store.Tx) (struct{}, error) {
			return struct{}{}, task.StopServiceDeployment(tx, scope, "default", "web", w.service().ServiceDeployment, how, time.Now())
		})
		return err
	}
	w.deploy(1)
	if err := stop(task.StopRollback); err == nil {
		t.Error("a first deployment can be rolled back")
	}
	w.settle(1)
	if err := stop(task.StopRollback); err == nil {
		t.Error("a completed deployment can be stopped")
	}
	w.deploy(2)
	w.pass()
	if err := stop(task.StopRollback); err != nil || w.serviceDeployment().Status != task.RollbackRequested {
		t.Errorf("stopped: %v, %s", err, w.serviceDeployment().Status)
	}
	if err := stop(task.StopRollback); err != nil {
		t.Errorf("stopped again: %v", err)
	}
	w.settle(1, 2)
	w.want("1 COMPLETED 3", task.RollbackSuccessful)

	w.deploy(2)
	w.pass()
	if err := stop(task.StopAbort); err != nil || w.serviceDeployment().Status != task.ServiceDeploymentStopping {
		t.Errorf("aborted: %v, %s", err, w.serviceDeployment().Status)
	}
	w.settle(1, 2)
	w.want("2 FAILED 0, 1 COMPLETED 3", task.ServiceDeploymentStopped)
}

// TestDesiredCountDuringDeployment: it counts at once, and starts no deployment of its own.
func TestDesiredCountDuringDeployment(t *testing.T) {
	w := newWorld(t)
	w.deploy(1)
	w.settle(1)
	w.deploy(2)
	w.pass()
	w.change(func(svc *task.Service) { svc.DesiredCount = 5 })
	w.settle(1, 2)
	w.want("2 COMPLETED 5", task.ServiceDeploymentSuccessful)
	w.deploy(3)
	w.pass()
	w.change(func(svc *task.Service) { svc.DesiredCount = 1 })
	w.settle(2, 3)
	w.want("3 COMPLETED 1", task.ServiceDeploymentSuccessful)
}

// TestHistoryIsBounded: the last twenty service deployments can be described, with their revisions.
func TestHistoryIsBounded(t *testing.T) {
	w := newWorld(t)
	w.deploy(1)
	w.settle(1)
	first := w.service().Primary().Number()
	for n := range task.KeptServiceDeployments + 5 {
		w.deploy(n + 2)
	}
	kept := task.ServiceDeployments(w.db.Snapshot(), scope, "default", "web")
	if len(kept) != task.KeptServiceDeployments || kept[0].ID != w.service().ServiceDeployment {
		t.Errorf("%d service deployments are kept, the newest is %s", len(kept), kept[0].ID)
	}
	for _, d := range kept {
		if _, ok := task.FindServiceRevision(w.db.Snapshot(), scope, "default", "web", d.Target); !ok {
			t.Errorf("the revision %s of a service deployment that is kept is not", d.Target)
		}
	}
	if _, ok := task.FindServiceRevision(w.db.Snapshot(), scope, "default", "web", first); !ok {
		t.Error("the revision that a rollback would bring back is not kept")
	}
}

// TestEventsAreNotRepeated: what stays as it is is said once.
func TestEventsAreNotRepeated(t *testing.T) {
	w := newWorld(t)
	w.deploy(1)
	w.settle(1)
	w.change(func(svc *task.Service) { svc.Maximum = 125 })
	w.deploy(2)
	for range 3 {
		w.pass()
		w.change(func(svc *task.Service) { svc.GracePeriod += time.Second })
	}
	if n := strings.Count(w.said(), blockedByBounds); n != 1 {
		t.Errorf("%q is said %d times", blockedByBounds, n)
	}
}

// TestDaemonFollowsNodes: a service with a task on each node has one more for each that comes.
func TestDaemonFollowsNodes(t *testing.T) {
	w := newWorld(t)
	w.deploy(1)
	w.change(func(svc *task.Service) {
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
			t.Error("a new node does not mark the service")
		}
		w.settle(1)
		if got := w.service().DesiredCount; got != n+1 {
			t.Errorf("with %d nodes the desired count is %d", n+1, got)
		}
	}
	on := map[string]int{}
	for _, tk := range task.TasksOf(w.db.Snapshot(), scope, "default", "web") {
		on[tk.OnlyNode]++
	}
	if w.deployments() != "1 COMPLETED 2" || on["node0"] != 1 || on["node1"] != 1 {
		t.Errorf("%s, by node %v", w.deployments(), on)
	}
}
