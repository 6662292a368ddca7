package inspect

import (
	"context"
	"slices"
	"strings"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/containerlog"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// The bounds of one response.
const (
	maxLines = 5000
	maxBytes = 512 << 10
)

// GetLogsInput selects lines of logs.
type GetLogsInput struct {
	Target    string // a service, CLUSTER/SERVICE, the id of a task or a prefix of it, or the ARN of a service or task
	Container string // only this container; empty means all
	Since     int64  // in Unix milliseconds
	// Positions is the start of each log, from the previous response. Empty means that Since determines the start.
	Positions map[string]int64
}

// GetLogsOutput is a part of the lines, ordered by time.
type GetLogsOutput struct {
	Lines     []LogLine
	Positions map[string]int64
	More      bool // more lines are available now
	Ended     bool // no lines will follow
}

// LogLine is one line of a log.
type LogLine struct {
	Task, Container string
	Time            int64 // in Unix milliseconds
	Text            string
}

func (a *api) getLogs(ctx context.Context, in *GetLogsInput) (*GetLogsOutput, error) {
	snapshot := a.db.Snapshot()
	tasks, service, err := findTasks(snapshot, awsapi.CallerFrom(ctx).Region, in.Target)
	if err != nil {
		return nil, err
	}
	out := &GetLogsOutput{Lines: []LogLine{}, Positions: map[string]int64{}}
	var sources []*containerlog.Source
	entries := map[string]*containerlog.Entry{}
	for _, t := range tasks {
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
	query := containerlog.Query{From: in.Since, Limit: maxLines, Bytes: maxBytes}
	events, _, more, err := containerlog.Merge(ctx, sources, query)
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		entry := entries[e.Source.ID]
		text := strings.ToValidUTF8(string(e.Text), "\uFFFD")
		out.Lines = append(out.Lines, LogLine{entry.TaskID, entry.Container, e.Time, text})
	}
	for _, s := range sources {
		if s.Position >= 0 {
			out.Positions[s.ID] = s.Position
		}
	}
	out.More = more
	out.Ended = !more && !service && allStopped(tasks)
	return out, nil
}

func allStopped(tasks []*task.Task) bool {
	return !slices.ContainsFunc(tasks, func(t *task.Task) bool { return t.Observed.State != task.Stopped })
}

// findTasks finds the tasks that a target names. If it names a service, these are the service's tasks, including
// stopped ones that are still described.
func findTasks(r store.Reader, region, target string) (tasks []*task.Task, service bool, err error) {
	cluster, name := splitTarget(target)
	var services []*task.Service
	task.ScanAllServices(r, func(svc *task.Service) bool {
		if svc.Region == region && svc.Name == name && (cluster == "" || svc.Cluster == cluster) {
			services = append(services, svc)
		}
		return true
	})
	switch services = preferDefaultCluster(services); {
	case len(services) == 1:
		return task.TasksOf(r, services[0].Ref()), true, nil
	case len(services) > 1:
		return nil, false, invalid("Several clusters have a service %q; use CLUSTER/%s", name, name)
	}
	switch tasks = tasksByPrefix(r, region, cluster, name); len(tasks) {
	case 1:
		return tasks, false, nil
	case 0:
		return nil, false, invalid("No service and no task %q exists in %s", target, region)
	}
	return nil, false, invalid("The ids of %d tasks begin with %q; use a longer prefix", len(tasks), name)
}

// splitTarget returns the cluster of a target, "" if it names none, and the name of the service or the id of the task.
func splitTarget(target string) (cluster, name string) {
	if !strings.HasPrefix(target, "arn:") {
		if cluster, name, ok := strings.Cut(target, "/"); ok {
			return cluster, name
		}
		return "", target
	}
	parts := strings.Split(target, "/") // …:service/CLUSTER/NAME, …:task/CLUSTER/ID
	if len(parts) == 3 {
		cluster = parts[1]
	}
	return cluster, parts[len(parts)-1]
}

// preferDefaultCluster returns the service of the default cluster if several clusters have one, because the default
// cluster is also the default of the AWS CLI.
func preferDefaultCluster(services []*task.Service) []*task.Service {
	for _, svc := range services {
		if svc.Cluster == task.DefaultCluster {
			return []*task.Service{svc}
		}
	}
	return services
}

// minPrefix is the length of the shortest prefix of a task's id.
const minPrefix = 4

// tasksByPrefix returns the tasks whose ids begin with prefix.
func tasksByPrefix(r store.Reader, region, cluster, prefix string) (found []*task.Task) {
	if len(prefix) < minPrefix {
		return nil
	}
	task.ScanAllTasks(r, region, func(t *task.Task) bool {
		if strings.HasPrefix(string(t.ID), prefix) && (cluster == "" || t.Cluster == cluster) {
			found = append(found, t)
		}
		return true
	})
	return found
}
