package task_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// TestClusters checks that the default cluster always exists, in the order of the names, and that only its use writes
// its row.
func TestClusters(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"blue", "prod"} {
		w.write(func(tx *store.Tx) error {
			task.CreateCluster(tx, task.Cluster{Account: sc.Account, Region: sc.Region, Name: name}, noon)
			return nil
		})
	}
	list := func(after string) string {
		var names []string
		task.ScanClusters(w.db.Snapshot(), sc, after, func(c *task.Cluster) bool {
			names = append(names, c.Name)
			return true
		})
		return strings.Join(names, " ")
	}
	for after, want := range map[string]string{
		"": "blue default prod", "blue": "default prod", "default": "prod", "c": "default prod", "prod": "", "z": "",
	} {
		if got := list(after); got != want {
			t.Errorf("clusters after %q: %q, want %q", after, got, want)
		}
	}
	first := ""
	task.ScanClusters(w.db.Snapshot(), sc, "blue", func(c *task.Cluster) bool { first += c.Name; return false })
	if first != "default" {
		t.Errorf("a scan that ends after the first cluster saw %q", first)
	}
	for _, tc := range []struct{ name, want string }{{"default", "ok"}, {"prod", "ok"}, {"other", "not found"}} {
		if got := w.write(func(tx *store.Tx) error {
			_, err := task.UseCluster(tx, sc, tc.name, noon)
			return err
		}); got != tc.want {
			t.Errorf("use of the cluster %s: %s, want %s", tc.name, got, tc.want)
		}
	}
	if got := list(""); got != "blue default prod" {
		t.Errorf("clusters after the use of the default cluster: %q", got)
	}
	w.write(func(tx *store.Tx) error { _, err := task.DeleteCluster(tx, sc, "prod"); return err })
	if _, err := task.GetCluster(w.db.Snapshot(), sc, "prod"); err == nil {
		t.Error("GetCluster returned an inactive cluster")
	}
	if c, ok := task.FindCluster(w.db.Snapshot(), sc, "prod"); !ok || c.Status != task.Inactive {
		t.Errorf("FindCluster returned %+v, %v", c, ok)
	}
}

// TestUpdateTask checks that only a changed copy is written.
func TestUpdateTask(t *testing.T) {
	w := newWorld(t)
	w.run("1", nil)
	for _, tc := range []struct {
		write   bool
		version int64
	}{{false, 1}, {true, 2}, {true, 3}} {
		w.write(func(tx *store.Tx) error {
			return task.UpdateTask(tx, ref("1"), func(t *task.Task) bool { t.StartedBy = "changed"; return tc.write })
		})
		row, err := task.GetTask(w.db.Snapshot(), ref("1"))
		if err != nil || row.Version != tc.version || (row.StartedBy != "") != (tc.version > 1) {
			t.Errorf("write %v: version %d, startedBy %q, %v", tc.write, row.Version, row.StartedBy, err)
		}
	}
}

// TestCountTasks reads one task per word: deployment, state, and an "s" for one that is meant to stop.
func TestCountTasks(t *testing.T) {
	states := map[string]task.State{"p": task.Pending, "r": task.Running, "d": task.Deactivating, "x": task.Stopped}
	for _, tc := range []struct{ tasks, deployment, want string }{
		{"", "", "{0 0}"},
		{"1p 1r 2r", "", "{1 2}"},
		{"1p 1r 2r", "1", "{1 1}"},
		{"1rs 1ps 1d 1x", "", "{0 0}"},
	} {
		var ts []*task.Task
		for word := range strings.FieldsSeq(tc.tasks) {
			row := &task.Task{Deployment: word[:1], Desired: task.DesiredRunning,
				Observed: task.Observed{State: states[word[1:2]]}}
			if len(word) > 2 {
				row.Desired = task.DesiredStopped
			}
			ts = append(ts, row)
		}
		if got := fmt.Sprint(task.CountTasks(ts, tc.deployment)); got != tc.want {
			t.Errorf("%q, deployment %q: %s, want %s", tc.tasks, tc.deployment, got, tc.want)
		}
	}
}

// TestPlacement checks that an assignment counts on the node, and which tasks wait for one.
func TestPlacement(t *testing.T) {
	w := newWorld(t)
	for i, id := range []task.ID{"3", "2", "1"} {
		w.run(id, func(t *task.Task) { t.Created = noon.Add(time.Duration(i) * time.Second) })
	}
	waiting := func() string {
		var ids []string
		for _, t := range task.UnplacedTasks(w.db.Snapshot()) {
			ids = append(ids, string(t.ID))
		}
		return strings.Join(ids, " ")
	}
	if got := waiting(); got != "3 2 1" {
		t.Errorf("waiting tasks %q, want the oldest first", got)
	}
	w.write(func(tx *store.Tx) error {
		return task.UpdateTask(tx, ref("2"), func(t *task.Task) bool {
			task.AssignNode(tx, t, "n1", task.Resources{CPU: 10, Ports: []task.Port{{Number: 80, Protocol: "tcp"}}})
			return true
		})
	})
	w.write(func(tx *store.Tx) error {
		return task.UpdateTask(tx, ref("3"), func(t *task.Task) bool { t.Observed.State = task.Stopped; return true })
	})
	if got := waiting(); got != "1" {
		t.Errorf("waiting tasks %q, want 1", got)
	}
	on := task.TasksOn(w.db.Snapshot(), "n1")
	if len(on) != 1 || on[0].ID != "2" || on[0].Reserved.CPU != 10 {
		t.Errorf("tasks on the node: %+v", on)
	}
}

func TestHostPorts(t *testing.T) {
	bindings := task.Observed{Containers: []task.Container{{Bindings: []task.Binding{
		{HostPort: 80, Protocol: "tcp"}, {HostPort: 32768, Protocol: "tcp"},
	}}}}
	reserved := &task.Resources{Ports: []task.Port{{Number: 80, Protocol: "tcp"}}}
	for _, tc := range []struct {
		name string
		task task.Task
		want string
	}{
		{"not placed", task.Task{}, "[]"},
		{"named by the definition", task.Task{Reserved: reserved}, "[{80 tcp}]"},
		{"chosen by the node", task.Task{Reserved: reserved, Observed: bindings}, "[{80 tcp} {32768 tcp}]"},
		{"ports of the task's address", task.Task{Network: &task.Network{}, Observed: bindings}, "[]"},
	} {
		if got := fmt.Sprint(tc.task.HostPorts()); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestGroup(t *testing.T) {
	for _, tc := range []struct {
		task task.Task
		want string
	}{
		{task.Task{Family: "job"}, "family:job"},
		{task.Task{Family: "job", GroupName: "batch"}, "batch"},
		{task.Task{Family: "job", Service: "web"}, "service:web"},
	} {
		if got := tc.task.Group(); got != tc.want {
			t.Errorf("Group = %s, want %s", got, tc.want)
		}
	}
}

// TestNodeAttributes checks the attributes that ECS itself gives to a node.
func TestNodeAttributes(t *testing.T) {
	n := &task.Node{Name: "n1", Runtime: "docker", Zone: "b", OS: "linux", Architecture: "arm64"}
	a := n.Attributes("eu-west-1")
	for name, want := range map[string]string{
		"ecs.availability-zone": "eu-west-1b", "ecs.instance-type": "rollcall.docker", "ecs.os-type": "linux",
		"ecs.os-family": "LINUX", "ecs.cpu-architecture": "arm64",
	} {
		if a[name] != want {
			t.Errorf("%s = %q, want %q", name, a[name], want)
		}
	}
	if _, ok := (&task.Node{}).Attributes("eu-west-1")["ecs.cpu-architecture"]; ok {
		t.Error("a node without an architecture has the attribute")
	}
	started, registered := noon, noon.Add(-time.Hour)
	for want, n := range map[time.Time]*task.Node{
		started: {Started: started}, registered: {Started: started, Registered: registered},
	} {
		if got := n.RegisteredAt(); !got.Equal(want) {
			t.Errorf("RegisteredAt = %v, want %v", got, want)
		}
	}
}

// TestLogStream checks the names of log streams.
func TestLogStream(t *testing.T) {
	for _, tc := range []struct{ prefix, want string }{
		{"web", "web/app/7f3a"},
		{"", task.ContainerID("7f3a", "app")},
	} {
		l := &task.Log{Prefix: tc.prefix}
		if got := l.Stream("7f3a", "app"); got != tc.want {
			t.Errorf("prefix %q: %s, want %s", tc.prefix, got, tc.want)
		}
	}
}

// TestSettings checks that a setting belongs to one principal.
func TestSettings(t *testing.T) {
	w := newWorld(t)
	s := task.Setting{Account: sc.Account, Region: sc.Region, Name: "containerInsights", Principal: "arn:aws:iam::1:root",
		Value: "enabled"}
	other := s.Ref()
	other.Principal = "arn:aws:iam::1:user/ann"
	w.write(func(tx *store.Tx) error { task.PutSetting(tx, s); return nil })
	if got, ok := task.FindSetting(w.db.Snapshot(), s.Ref()); !ok || got.Value != "enabled" {
		t.Errorf("setting %+v, %v", got, ok)
	}
	if _, ok := task.FindSetting(w.db.Snapshot(), other); ok {
		t.Error("another principal has the setting")
	}
	w.write(func(tx *store.Tx) error { task.DeleteSetting(tx, s.Ref()); return nil })
	if _, ok := task.FindSetting(w.db.Snapshot(), s.Ref()); ok {
		t.Error("the setting remains")
	}
}

// TestScans checks the order and the bounds of scans.
func TestScans(t *testing.T) {
	w := newWorld(t)
	for _, id := range []task.ID{"b", "a", "c"} {
		w.run(id, func(t *task.Task) { t.Observed.Address = netip.MustParseAddr("10.0.0.1") })
	}
	for after, want := range map[task.ID]string{"": "abc", "a": "bc", "aa": "bc", "c": ""} {
		got := ""
		task.ScanTasks(w.db.Snapshot(), prod, after, func(t *task.Task) bool { got += string(t.ID); return true })
		if got != want {
			t.Errorf("tasks after %q: %q, want %q", after, got, want)
		}
	}
	other := prod
	other.Name = "pro"
	task.ScanTasks(w.db.Snapshot(), other, "", func(row *task.Task) bool {
		t.Errorf("the cluster pro has the task %s", row.ID)
		return true
	})
	for _, family := range []string{"web", "worker", "job"} {
		w.write(func(tx *store.Tx) error {
			task.RegisterDefinition(tx, sc, task.Definition{Family: family}, noon)
			return nil
		})
	}
	for _, tc := range []struct{ prefix, after, want string }{
		{"", "", "job web worker"}, {"w", "", "web worker"}, {"w", "web", "worker"}, {"x", "", ""},
	} {
		var names []string
		task.ScanFamilies(w.db.Snapshot(), sc, tc.prefix, tc.after,
			func(name string) bool { names = append(names, name); return true })
		if got := strings.Join(names, " "); got != tc.want {
			t.Errorf("families %q after %q: %q, want %q", tc.prefix, tc.after, got, tc.want)
		}
	}
	if have, active := task.HasRevisions(w.db.Snapshot(), sc, "web"); !have || !active {
		t.Errorf("HasRevisions = %v, %v", have, active)
	}
	if have, active := task.HasRevisions(w.db.Snapshot(), sc, "we"); have || active {
		t.Errorf("HasRevisions of a prefix = %v, %v", have, active)
	}
}
