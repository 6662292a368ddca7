package registrar

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
	"github.com/bakingclouds/rollcall/internal/task"
)

var scope = arn.Scope{Account: "123456789012", Region: "eu-west-1"}

const drainCap = 5 * time.Minute

func ref(id string) task.Ref { return task.Ref{Scope: scope, Cluster: "default", ID: task.ID(id)} }

// world runs the loop on a real store with a Cloud Map service. The tests write what the agents and the nodes would
// write.
type world struct {
	*testing.T
	db      *store.Store
	r       *registrar
	service string // id of the Cloud Map service
	marked  map[string]bool
	leave   map[string]func() // by node
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db := storetest.Open(t, slices.Concat(task.Schema(), registry.Schema())...)
	w := &world{T: t, db: db, r: newRegistrar(db, "a", drainCap), marked: map[string]bool{}, leave: map[string]func(){}}
	call := registry.NewCall(time.Now())
	w.write(func(tx *store.Tx) error {
		op, err := registry.CreateNamespace(tx, scope, registry.NamespaceSpec{Kind: registry.HTTP, Name: "shop"}, call)
		if err != nil {
			return err
		}
		spec := registry.ServiceSpec{NamespaceID: op.Targets.Namespace, Name: "web"}
		svc, err := registry.CreateService(tx, scope, spec, call)
		if err != nil {
			return err
		}
		w.service = svc.ID
		return nil
	})
	db.Follow(func(c store.Change) {
		for _, row := range c.Rows {
			for _, key := range w.r.affected(row) {
				w.marked[key] = true
			}
		}
	})
	return w
}

func (w *world) write(fn func(tx *store.Tx) error) {
	w.Helper()
	_, err := store.Update(w.Context(), w.db, func(tx *store.Tx) (struct{}, error) { return struct{}{}, fn(tx) })
	if err != nil {
		w.Fatal(err)
	}
}

// create writes a task that is starting.
func (w *world) create(id string) {
	w.Helper()
	w.write(func(tx *store.Tx) error {
		task.CreateTask(tx, task.Task{
			Account: scope.Account, Region: scope.Region, Cluster: "default", ID: task.ID(id), Service: "web",
			Family:     "web",
			Registries: []task.Registry{{ServiceID: w.service}},
			Observed:   task.Observed{State: task.Activating, Address: netip.MustParseAddr("10.0.0.1")},
		})
		return nil
	})
}

func (w *world) task(id string) *task.Task {
	w.Helper()
	t, err := task.GetTask(w.db.Snapshot(), ref(id))
	if err != nil {
		w.Fatal(err)
	}
	return t
}

// instance returns the reference of a task's instance.
func (w *world) instance(id string) registry.InstanceRef {
	return registry.InstanceRef{Scope: scope, ServiceID: w.service, ID: id}
}

// do makes one of the changes that the tests describe with words:
//
//	activate ID, run ID, check ID, healthy ID, unhealthy ID, stop ID, exit ID    what becomes of a task
//	deregister ID                                                               DeregisterInstance
//	join NODE, lose NODE, clear NODE ID                                         what a node does
//	cap ID                                                                      the drain cap is over
func (w *world) do(words string) {
	w.Helper()
	verb, rest, _ := strings.Cut(words, " ")
	name, id, _ := strings.Cut(rest, " ")
	now := time.Now()
	edit := func(do func(t *task.Task)) {
		w.write(func(tx *store.Tx) error {
			return task.UpdateTask(tx, ref(name), func(t *task.Task) bool { do(t); return true })
		})
	}
	switch verb {
	case "activate":
		w.create(name)
	case "run":
		edit(func(t *task.Task) { t.Observed.State, t.Observed.HealthySince = task.Running, &now })
	case "check":
		edit(func(t *task.Task) { t.Checked, t.Observed.Health = true, task.HealthUnknown })
	case "healthy":
		edit(func(t *task.Task) { t.Observed.Health = task.HealthHealthy })
	case "unhealthy":
		edit(func(t *task.Task) { t.Observed.Health = task.HealthUnhealthy })
	case "stop", "exit":
		code := task.ServiceSchedulerInitiated
		if verb == "exit" {
			code = task.EssentialContainerExited
		}
		w.write(func(tx *store.Tx) error {
			_, _, err := task.Stop(tx, ref(name), task.StopCause{Code: code}, now)
			return err
		})
	case "deregister":
		w.write(func(tx *store.Tx) error {
			_, err := registry.DeregisterInstance(tx, w.instance(name), registry.NewCall(now))
			return err
		})
	case "join":
		leave, err := task.KeepAlive(w.Context(), w.db, name)
		if err != nil {
			w.Fatal(err)
		}
		w.leave[name] = leave
		w.Cleanup(func() { w.leave[name]() })
		w.write(func(tx *store.Tx) error { task.PutNode(tx, task.Node{Name: name}); return nil })
	case "lose":
		w.leave[name]()
		w.leave[name] = func() {}
		for task.Live(w.db.Snapshot(), name) { // each write waits for the mirror
			w.write(func(tx *store.Tx) error { task.PutNode(tx, task.Node{Name: name}); return nil })
		}
	case "clear":
		w.write(func(tx *store.Tx) error { task.AddClearance(tx, ref(id), name); return nil })
	case "cap":
		w.r.mu.Lock()
		w.r.drainingSince[w.task(name).Key()] = now.Add(-drainCap)
		w.r.mu.Unlock()
	default:
		w.Fatalf("unknown change %q", words)
	}
}

// settle reconciles a task until its row does not change, and returns how long the loop waits.
func (w *world) settle(id string) time.Duration {
	w.Helper()
	for {
		before := w.task(id)
		wait, err := w.r.reconcile(w.Context(), before.Key())
		if err != nil {
			w.Fatal(err)
		}
		if w.task(id) == before {
			return wait
		}
	}
}

// state describes the registration of the task t and its instance, such as "registered: healthy" or "released".
func (w *world) state() string {
	w.Helper()
	t := w.task("t")
	text := map[task.Registration]string{
		task.Unregistered: "unregistered", task.Registered: "registered",
		task.Draining: "draining", task.Released: "released",
	}[t.Registration]
	if t.Desired == task.DesiredStopped && t.StopCode == task.TaskFailedToStart {
		text += " and failed"
	}
	i, err := registry.GetInstance(w.db.Snapshot(), w.instance("t"))
	if err != nil {
		return text
	}
	text += ": " + strings.ToLower(string(i.Health))
	if i.Unready {
		text += ", unready"
	}
	if i.Draining {
		text += ", draining"
	}
	if answered := i.Health == registry.Healthy && !i.Draining; answered != t.Answered {
		text += fmt.Sprintf(", the task's row has answered = %v", t.Answered)
	}
	return text
}

// TestReconcile makes changes in order and checks the state of the task t after each of them. An empty state means
// that it is not checked.
func TestReconcile(t *testing.T) {
	type step struct{ change, want string }
	for _, tc := range []struct {
		name  string
		steps []step
	}{
		{"task without a health check", []step{
			{"activate t", "registered: healthy"},
			{"run t", "registered: healthy"},
			{"stop t", "released"}, // no node has answered
		}},
		{"task with a health check", []step{
			{"activate t", ""},
			{"check t", "registered: unhealthy, unready"},
			{"healthy t", "registered: healthy"},
			{"unhealthy t", "registered: unhealthy"},
			{"healthy t", "registered: healthy"},
		}},
		{"drain waits for each live node", []step{
			{"join a", ""}, {"join b", ""},
			{"activate t", "registered: healthy"},
			{"stop t", "draining: healthy, draining"},
			{"clear a t", "draining: healthy, draining"},
			{"clear b t", "released"},
		}},
		{"drain ends with the cap", []step{
			{"join a", ""},
			{"activate t", "registered: healthy"},
			{"stop t", "draining: healthy, draining"},
			{"cap t", "released"},
		}},
		{"a task that exits is deregistered immediately", []step{
			{"join a", ""},
			{"activate t", "registered: healthy"},
			{"exit t", "released"},
		}},
		{"a client deregisters the instance", []step{
			{"join a", ""},
			{"activate t", "registered: healthy"},
			{"deregister t", "registered"},
			{"unhealthy t", "registered"},
			{"stop t", "draining"},
			{"clear a t", "released"},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			for _, step := range tc.steps {
				w.do(step.change)
				if step.want == "" {
					continue
				}
				w.settle("t")
				if got := w.state(); got != step.want {
					t.Fatalf("after %q: %s, want %s", step.change, got, step.want)
				}
			}
		})
	}
}

// TestStaleAction checks that an action that was chosen for a row that has changed since writes nothing.
func TestStaleAction(t *testing.T) {
	w := newWorld(t)
	w.do("activate t")
	stale := w.task("t")
	w.do("stop t")
	if current, err := w.r.commit(t.Context(), stale, registerInstance, time.Now()); err != nil || current {
		t.Errorf("stale row: commit = %v, %v; want false", current, err)
	}
	if got, want := w.state(), "unregistered"; got != want {
		t.Errorf("after a stale action: %s, want %s", got, want)
	}
}

// TestRejectedRegistration checks that a task is stopped if its Cloud Map service does not exist.
func TestRejectedRegistration(t *testing.T) {
	w := newWorld(t)
	w.service = "srv-missing"
	w.do("activate t")
	w.settle("t")
	if got, want := w.state(), "released and failed"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	const prefix = "ResourceInitializationError: the task cannot be registered in srv-missing: "
	if got := w.task("t").StoppedReason; !strings.HasPrefix(got, prefix) {
		t.Errorf("stopped reason %q, want prefix %q", got, prefix)
	}
}

// TestLostNode checks that a draining task waits for one TTL after a node without a clearance was lost.
func TestLostNode(t *testing.T) {
	w := newWorld(t)
	w.do("join a")
	w.do("activate t")
	w.settle("t")
	w.do("stop t")
	if wait := w.settle("t"); wait <= drainCap-time.Minute || wait > drainCap {
		t.Errorf("a live node: the wait is %v, want up to %v", wait, drainCap)
	}
	w.do("lose a")
	const longest = 5*time.Second + lostNodeMargin // DiscoverInstances answers count for 5 s
	if wait := w.settle("t"); wait <= 0 || wait > longest {
		t.Errorf("a lost node: the wait is %v, want up to %v", wait, longest)
	}
	w.do("join a")
	if wait := w.settle("t"); wait <= longest {
		t.Errorf("the node is live again: the wait is %v, want up to %v", wait, drainCap)
	}
}

// TestReplacement checks that the last answered task of a service stays in the answers after StopTask until its
// replacement is answered, and that the replacement marks it.
func TestReplacement(t *testing.T) {
	w := newWorld(t)
	w.write(func(tx *store.Tx) error {
		task.PutService(tx, task.Service{
			Account: scope.Account, Region: scope.Region, Cluster: "default", Name: "web", Status: task.Active,
			DesiredCount: 1, Maximum: 200,
		})
		return nil
	})
	w.do("join a")
	w.do("activate t")
	w.do("run t")
	w.settle("t")
	w.write(func(tx *store.Tx) error {
		_, _, err := task.Stop(tx, ref("t"), task.StopCause{Code: task.UserInitiated}, time.Now())
		return err
	})
	if wait := w.settle("t"); w.state() != "registered: healthy" || wait <= 0 || wait > maxReplacementWait {
		t.Fatalf("after StopTask: %s, wait %v; want registered: healthy, up to %v",
			w.state(), wait, maxReplacementWait)
	}
	clear(w.marked)
	w.do("activate u")
	w.do("run u")
	w.settle("u")
	if !w.marked[w.task("t").Key()] {
		t.Error("the replacement did not mark the task that waits for it")
	}
	if w.settle("t"); w.state() != "draining: healthy, draining" {
		t.Errorf("after the replacement: %s, want draining: healthy, draining", w.state())
	}
}

// TestMarks checks which tasks a change of a row marks.
func TestMarks(t *testing.T) {
	w := newWorld(t)
	w.do("join a")
	for _, id := range []string{"running", "draining"} {
		w.do("activate " + id)
		w.settle(id)
	}
	w.do("stop draining")
	w.settle("draining")
	for _, tc := range []struct{ change, want string }{
		{"run running", "running"},
		{"deregister running", "running"},
		{"join b", "draining"},
		{"lose b", "draining"},
		{"clear a draining", "draining"},
	} {
		clear(w.marked)
		w.do(tc.change)
		var got []string
		for key := range w.marked {
			got = append(got, key[strings.LastIndex(key, "/")+1:])
		}
		if !slices.Equal(got, []string{tc.want}) {
			t.Errorf("%q marked %v, want %s", tc.change, got, tc.want)
		}
	}
}
