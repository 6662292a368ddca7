package drain

import (
	"slices"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
	"github.com/bakingclouds/rollcall/internal/task"
)

func TestRemainingWait(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name              string
		answersExpireIn   time.Duration
		drainingFor       time.Duration
		minimum, wantWait time.Duration
	}{
		{"no answer, no minimum", 0, 0, 0, 0},
		{"answers expire later", 10 * time.Second, time.Minute, 0, 10 * time.Second},
		{"minimum is not over", 0, 10 * time.Second, 30 * time.Second, 20 * time.Second},
		{"minimum is over", 0, 30 * time.Second, 30 * time.Second, 0},
		{"answers expire after the minimum", 25 * time.Second, 10 * time.Second, 30 * time.Second, 25 * time.Second},
		{"minimum ends after the answers expire", 5 * time.Second, 10 * time.Second, 30 * time.Second,
			20 * time.Second},
	} {
		got := remainingWait(tc.answersExpireIn, now.Add(-tc.drainingFor), tc.minimum, now)
		if got != tc.wantWait {
			t.Errorf("%s: remainingWait = %v, want %v", tc.name, got, tc.wantWait)
		}
	}
}

func TestParseMinimum(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": 0, "30": 30 * time.Second, "0": 0, "-1": 0, "1.5": 0, "soon": 0, " 30": 0,
		"86400": 24 * time.Hour, "86401": 24 * time.Hour, "9223372036854775807": 24 * time.Hour,
		"9999999999999999999999": 0, // not an int64
	} {
		if got := parseMinimum(value); got != want {
			t.Errorf("parseMinimum(%q) = %v, want %v", value, got, want)
		}
	}
}

// TestTrack checks that the time since which a task is draining is the first one, until it stops draining.
func TestTrack(t *testing.T) {
	d := newDrain(nil, nil, "a")
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	for i, step := range []struct {
		registration task.Registration
		deleted      bool
		since        int // seconds after noon, -1 if the task is not draining
	}{
		{task.Registered, false, -1},
		{task.Draining, false, 1},
		{task.Draining, false, 1},
		{task.Released, false, -1},
		{task.Draining, false, 4},
		{task.Draining, true, -1},
	} {
		row := &task.Task{Region: "r", Cluster: "c", ID: "t", Registration: step.registration}
		draining := d.track(row, step.deleted, noon.Add(time.Duration(i)*time.Second))
		if draining != (step.since >= 0) {
			t.Errorf("step %d: track = %v, want %v", i, draining, step.since >= 0)
		}
		since, ok := d.drainingSince[row.Key()]
		if ok != (step.since >= 0) || ok && since != noon.Add(time.Duration(step.since)*time.Second) {
			t.Errorf("step %d: draining since %v, want %d s after noon", i, since, step.since)
		}
	}
}

// TestClearance checks when a node gives its clearance for a draining task.
func TestClearance(t *testing.T) {
	scope := arn.Scope{Account: "1", Region: "r"}
	for _, tc := range []struct {
		name                string
		answeredTTL         uint32 // the TTL of an answer that the node has sent; 0 means none
		ecsTag, cloudMapTag string
		registered          bool // the task is not draining
		want                time.Duration
		clearance           bool
	}{
		{name: "no answer was sent", clearance: true},
		{name: "an answer was sent", answeredTTL: 60, want: 60 * time.Second},
		{name: "tag of the ECS service", ecsTag: "100", want: 100 * time.Second},
		{name: "tag of the Cloud Map service", cloudMapTag: "100", want: 100 * time.Second},
		{name: "the greater tag applies", ecsTag: "100", cloudMapTag: "200", want: 200 * time.Second},
		{name: "the answer lives longer than the minimum", answeredTTL: 60, ecsTag: "5", want: 60 * time.Second},
		{name: "invalid tag", ecsTag: "a minute", clearance: true},
		{name: "not draining", registered: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			db := storetest.Open(t, slices.Concat(task.Schema(), registry.Schema())...)
			service := createService(t, db, scope, tc.cloudMapTag)
			row := &task.Task{
				Account: "1", Region: "r", Cluster: "c", ID: "t", Service: "web",
				Registries: []task.Registry{{ServiceID: service}}, Registration: task.Draining,
			}
			if tc.registered {
				row.Registration = task.Registered
			}
			write(t, db, func(tx *store.Tx) {
				tags := map[string]string{MinimumTag: tc.ecsTag}
				task.PutService(tx, task.Service{Account: "1", Region: "r", Cluster: "c", Name: "web", Tags: tags})
				task.CreateTask(tx, *row)
			})
			dir := directory.New()
			dir.Apply(1, func(*directory.Batch) {}) // otherwise the directory expects answers of an earlier process
			dir.Apply(2, func(b *directory.Batch) {
				b.PutNamespace(directory.Namespace{ID: "ns", Region: "r", Name: "shop", HTTPName: "shop"})
				b.PutService(directory.Service{ID: service, NamespaceID: "ns", Name: "web"})
				b.PutInstance(&directory.Instance{ID: "t", ServiceID: service, TrackExpiry: true})
			})
			if instance, ok := dir.Instance(service, "t"); ok && tc.answeredTTL > 0 {
				instance.MarkSent(directory.Now(), tc.answeredTTL)
			}

			d := newDrain(db, dir, "a")
			d.track(row, false, time.Now())
			wait, err := d.reconcile(t.Context(), row.Key())
			if err != nil {
				t.Fatal(err)
			}
			if wait > tc.want+2*time.Second || wait < tc.want-2*time.Second || tc.want == 0 && wait != 0 {
				t.Errorf("the wait is %v, want about %v", wait, tc.want)
			}
			if got := task.HasClearance(db.Snapshot(), row.Ref(), "a"); got != tc.clearance {
				t.Errorf("clearance: %v, want %v", got, tc.clearance)
			}
		})
	}
}

// createService creates a Cloud Map service with the given minimum drain time and returns its id.
func createService(t *testing.T, db *store.Store, scope arn.Scope, minimum string) (id string) {
	t.Helper()
	call := registry.NewCall(time.Now())
	write(t, db, func(tx *store.Tx) {
		op, err := registry.CreateNamespace(tx, scope, registry.NamespaceSpec{Kind: registry.HTTP, Name: "shop"}, call)
		if err != nil {
			t.Fatal(err)
		}
		svc, err := registry.CreateService(tx, scope, registry.ServiceSpec{
			NamespaceID: op.Targets.Namespace, Name: "web", Tags: map[string]string{MinimumTag: minimum},
		}, call)
		if err != nil {
			t.Fatal(err)
		}
		id = svc.ID
	})
	return id
}

func write(t *testing.T, db *store.Store, fn func(tx *store.Tx)) {
	t.Helper()
	_, err := store.Update(t.Context(), db, func(tx *store.Tx) (struct{}, error) { fn(tx); return struct{}{}, nil })
	if err != nil {
		t.Fatal(err)
	}
}
