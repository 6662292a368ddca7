package inspect

import (
	"context"
	"slices"
	"strings"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/containerlog"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// The bounds of one answer.
const (
	maxLines = 5000
	maxBytes = 512 << 10
)

// GetLogsInput asks for what tasks have printed.
type GetLogsInput struct {
	Target    string // a service, CLUSTER/SERVICE, a task's id or the beginning of it, or the ARN of either
	Container string // only its; empty is every one
	Since     int64  // Unix milliseconds
	// Positions is where to go on, from the last answer; empty begins with Since.
	Positions map[string]int64
}

// GetLogsOutput is a part of it, in the order of time.
type GetLogsOutput struct {
	Lines     []LogLine
	Positions map[string]int64
	More      bool // there is more already
	Ended     bool // nothing will ever come
}

// LogLine is one line.
type LogLine struct {
	Task, Container string
	Time            int64 // Unix milliseconds
	Text            string
}

func (a *api) getLogs(ctx context.Context, in *GetLogsInput) (*GetLogsOutput, error) {
	tasks, service, err := a.logTasks(awsapi.CallerFrom(ctx).Region, in.Target)
	if err != nil {
		return nil, err
	}
	out := &GetLogsOutput{Lines: []LogLine{}, Positions: map[string]int64{}, Ended: !service}
	var sources []*containerlog.Source
	entries := map[string]*containerlog.Entry{}
	for _, t := range tasks {
		out.Ended = out.Ended && t.Observed.State == task.Stopped
		for _, e := range a.logs.Task(string(t.ID)) {
			if in.Container != "" && e.Container != in.Container {
				continue
			}
			id := e.TaskID + "/" + e.Container
			s := &containerlog.Source{ID: id, Dir: e.Dir, Position: -1}
			if pos, ok := in.Positions[id]; ok {
				s.Position = pos
			}
			entries[id] = e
			sources = append(sources, s)
		}
	}
	events, _, more, err := containerlog.Merge(ctx, sources, containerlog.Query{From: in.Since, Limit: maxLines, Bytes: maxBytes})
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		from := entries[e.Source.ID]
		out.Lines = append(out.Lines, LogLine{from.TaskID, from.Container, e.Time, strings.ToValidUTF8(string(e.Text), "\uFFFD")})
	}
	for _, s := range sources {
		if s.Position >= 0 {
			out.Positions[s.ID] = s.Position
		}
	}
	out.More = more
	out.Ended = out.Ended && !more
	return out, nil
}

// logTasks finds the tasks that a target means: those of a service, also those that have stopped and are still
// described, or one.
func (a *api) logTasks(region, target string) (tasks []*task.Task, service bool, err error) {
	cluster, name := "", target
	if strings.HasPrefix(target, "arn:") { // …:service/CLUSTER/NAME, …:task/CLUSTER/ID
		parts := strings.Split(target, "/")
		cluster, name = "", parts[len(parts)-1]
		if len(parts) == 3 {
			cluster = parts[1]
		}
	} else if before, after, ok := strings.Cut(target, "/"); ok {
		cluster, name = before, after
	}
	s := a.db.Snapshot()
	var services []*task.Service
	task.ScanAllServices(s, func(svc *task.Service) bool {
		if svc.Region == region && svc.Name == name && (cluster == "" || svc.Cluster == cluster) {
			services = append(services, svc)
		}
		return true
	})
	if len(services) > 1 && cluster == "" { // the default cluster's goes first, as everywhere
		services = slices.DeleteFunc(services, func(svc *task.Service) bool { return svc.Cluster != task.DefaultCluster })
	}
	switch {
	case len(services) == 1:
		svc := services[0]
		return task.TasksOf(s, svc.Ref()), true, nil
	case len(services) > 1:
		return nil, false, fault.New(fault.Invalid, "input", "Several clusters have a service %q; say CLUSTER/%s", name, name)
	}
	tasks = tasksLike(s, region, cluster, name)
	switch len(tasks) {
	case 1:
		return tasks, false, nil
	case 0:
		return nil, false, fault.New(fault.Invalid, "input", "There is no service and no task %q in %s", target, region)
	}
	return nil, false, fault.New(fault.Invalid, "input", "The ids of %d tasks begin with %q; give more of it", len(tasks), name)
}

// shortest is how much of a task's id is needed.
const shortest = 4

// tasksLike are the tasks whose ids begin so.
func tasksLike(r store.Reader, region, cluster, id string) (found []*task.Task) {
	if len(id) < shortest {
		return nil
	}
	task.ScanAllTasks(r, region, func(t *task.Task) bool {
		if strings.HasPrefix(string(t.ID), id) && (cluster == "" || t.Cluster == cluster) {
			found = append(found, t)
		}
		return true
	})
	return found
}
