package reap

import (
	"fmt"
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

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// world is a store that the tests fill with rows, described with words: a task is "task:STATE:AGE", its age the time
// since it stopped; an ECS service is "service:STATUS:AGE", its age the time since it was deleted; a task definition
// is "definition:STATUS", one that is used "definition:STATUS:task" or "definition:STATUS:service"; a Cloud Map
// operation in a region is "operation:REGION:AGE".
type world struct {
	*testing.T
	db *store.Store
}

func (w *world) write(fn func(tx *store.Tx)) {
	w.Helper()
	_, err := store.Update(w.Context(), w.db, func(tx *store.Tx) (struct{}, error) { fn(tx); return struct{}{}, nil })
	if err != nil {
		w.Fatal(err)
	}
}

// create writes the row that a word describes. n makes its name unique.
func (w *world) create(word string, n int) {
	w.Helper()
	kind, rest, _ := strings.Cut(word, ":")
	state, detail, _ := strings.Cut(rest, ":")
	scope := arn.Scope{Account: "1", Region: "r"}
	var at time.Time
	if age, err := time.ParseDuration(detail); err == nil {
		at = noon.Add(-age)
	}
	name := fmt.Sprint(kind, n)
	w.write(func(tx *store.Tx) {
		switch kind {
		case "task":
			t := task.Task{Account: "1", Region: "r", Cluster: "c", ID: task.ID(name)}
			t.Observed.State = task.Running
			if state == "stopped" {
				t.Observed.State, t.Observed.StoppedAt = task.Stopped, &at
			}
			task.CreateTask(tx, t)
		case "service":
			svc := task.Service{Account: "1", Region: "r", Cluster: "c", Name: name, Status: state}
			if state == task.Inactive {
				svc.Deleted = &at
			}
			task.PutService(tx, svc)
			task.AddEvent(tx, &svc, task.Event{ID: "e", Created: at})
		case "definition":
			w.createDefinition(tx, scope, name, state, detail)
		case "operation":
			spec := registry.NamespaceSpec{Kind: registry.HTTP, Name: name}
			scope.Region = state
			if _, err := registry.CreateNamespace(tx, scope, spec, registry.NewCall(at)); err != nil {
				w.Error(err)
			}
		}
	})
}

func (w *world) createDefinition(tx *store.Tx, scope arn.Scope, family, status, user string) {
	task.RegisterDefinition(tx, scope, task.Definition{Family: family}, noon)
	if status != task.Active {
		if _, err := task.DeregisterDefinition(tx, scope, family, 1, noon); err != nil {
			w.Error(err)
		}
	}
	if status == task.DeleteInProgress {
		if _, err := task.DeleteDefinition(tx, scope, family, 1, noon); err != nil {
			w.Error(err)
		}
	}
	switch user {
	case "task":
		task.CreateTask(tx, task.Task{Account: "1", Region: "r", Cluster: "c", ID: "user", Family: family, Revision: 1})
	case "service":
		d := task.Deployment{ID: "ecs-svc/1", Family: family, Revision: 1}
		task.PutService(tx, task.Service{
			Account: "1", Region: "r", Cluster: "c", Name: "user", Status: task.Active,
			Deployments: []task.Deployment{d},
		})
	}
}

// left reports whether the row that create wrote is left.
func (w *world) left(word string, n int) bool {
	kind, rest, _ := strings.Cut(word, ":")
	name := fmt.Sprint(kind, n)
	s := w.db.Snapshot()
	switch kind {
	case "task":
		_, err := task.GetTask(s, task.Ref{Scope: arn.Scope{Region: "r"}, Cluster: "c", ID: task.ID(name)})
		return err == nil
	case "service":
		_, ok := task.FindService(s, task.ServiceRef{Scope: arn.Scope{Region: "r"}, Cluster: "c", Name: name})
		return ok
	case "definition":
		found := false
		task.ScanDefinitions(s, arn.Scope{Region: "r"}, name, func(*task.Definition) bool {
			found = true
			return false
		})
		return found
	default:
		region, _, _ := strings.Cut(rest, ":")
		return slices.Contains(registry.Regions(s), region)
	}
}

// TestDeleteExpired checks which rows are deleted.
func TestDeleteExpired(t *testing.T) {
	rows := []struct {
		word string
		left bool
	}{
		{"task:running", true},
		{"task:stopped:59m", true},
		{"task:stopped:60m", false},
		{"service:ACTIVE", true},
		{"service:DRAINING", true},
		{"service:INACTIVE:59m", true},
		{"service:INACTIVE:60m", false},
		{"definition:ACTIVE", true},
		{"definition:INACTIVE", true},
		{"definition:DELETE_IN_PROGRESS", false},
		{"definition:DELETE_IN_PROGRESS:task", true},
		{"definition:DELETE_IN_PROGRESS:service", true},
		{"operation:new:23h", true},
		{"operation:old:25h", false},
	}
	w := &world{t, storetest.Open(t, slices.Concat(task.Schema(), registry.Schema())...)}
	for n, row := range rows {
		w.create(row.word, n)
	}
	if err := deleteExpired(t.Context(), w.db, noon, batch); err != nil {
		t.Fatal(err)
	}
	for n, row := range rows {
		if got := w.left(row.word, n); got != row.left {
			t.Errorf("%s: left = %v, want %v", row.word, got, row.left)
		}
	}
}

// TestBatches checks that one run deletes all expired rows, however many transactions it takes.
func TestBatches(t *testing.T) {
	w := &world{t, storetest.Open(t, slices.Concat(task.Schema(), registry.Schema())...)}
	words := slices.Concat(
		slices.Repeat([]string{"task:stopped:2h"}, 5), slices.Repeat([]string{"service:INACTIVE:2h"}, 3),
		slices.Repeat([]string{"operation:old:48h"}, 5),
	)
	for n, word := range words {
		w.create(word, n)
	}
	if err := deleteExpired(t.Context(), w.db, noon, 2); err != nil {
		t.Fatal(err)
	}
	for n, word := range words {
		if w.left(word, n) {
			t.Errorf("%s number %d is left", word, n)
		}
	}
}
