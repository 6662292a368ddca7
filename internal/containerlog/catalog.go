package containerlog

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Stream is the CloudWatch Logs stream that shows a container's log.
type Stream struct {
	Region, Group, Name string
	Created             int64 // Unix time in milliseconds
}

// Entry is the log of one container in the catalog.
type Entry struct {
	TaskID, Container string
	Dir               string
	Stream            *Stream // nil if the log is not a stream
}

// Catalog lists the logs below a folder. It is safe for concurrent use.
type Catalog struct {
	root string

	mu     sync.RWMutex
	byTask map[string][]*Entry
}

const streamFile = "stream"

// OpenCatalog returns a catalog of the existing logs below root.
func OpenCatalog(root string) (*Catalog, error) {
	c := &Catalog{root: root, byTask: map[string][]*Entry{}}
	tasks, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the logs: %w", err)
	}
	for _, t := range tasks {
		containers, err := os.ReadDir(filepath.Join(root, t.Name()))
		if err != nil {
			continue // not a task's folder
		}
		for _, name := range containers {
			e := &Entry{TaskID: t.Name(), Container: name.Name(), Dir: Folder(root, t.Name(), name.Name())}
			text, err := os.ReadFile(filepath.Join(e.Dir, streamFile))
			if err == nil && json.Unmarshal(text, &e.Stream) != nil {
				e.Stream = nil // partly written: the task never started
			}
			c.byTask[t.Name()] = append(c.byTask[t.Name()], e)
		}
	}
	return c, nil
}

// Declare creates the log of a container that is about to start, as a stream unless stream is nil. An existing log is
// not changed.
func (c *Catalog) Declare(taskID, container string, stream *Stream) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.ContainsFunc(c.byTask[taskID], func(e *Entry) bool { return e.Container == container }) {
		return nil
	}
	e := &Entry{TaskID: taskID, Container: container, Dir: Folder(c.root, taskID, container), Stream: stream}
	if err := e.write(); err != nil {
		return fmt.Errorf("create the log of container %s: %w", container, err)
	}
	c.byTask[taskID] = append(c.byTask[taskID], e)
	return nil
}

func (e *Entry) write() error {
	if err := os.MkdirAll(e.Dir, 0o700); err != nil {
		return err
	}
	if e.Stream == nil {
		return nil
	}
	text, err := json.Marshal(e.Stream)
	if err != nil {
		return err
	}
	file := filepath.Join(e.Dir, streamFile)
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// Task returns the logs of a task's containers, ordered by container name.
func (c *Catalog) Task(id string) []*Entry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return sorted(c.byTask[id], func(e *Entry) string { return e.Container })
}

// Group returns the logs that are streams of a group, ordered by stream name.
func (c *Catalog) Group(region, group string) []*Entry {
	var found []*Entry
	for _, e := range c.All() {
		if s := e.Stream; s != nil && s.Region == region && s.Group == group {
			found = append(found, e)
		}
	}
	return sorted(found, func(e *Entry) string { return e.Stream.Name })
}

func sorted(entries []*Entry, by func(*Entry) string) []*Entry {
	return slices.SortedFunc(slices.Values(entries), func(a, b *Entry) int { return cmp.Compare(by(a), by(b)) })
}

// All returns every log, in no particular order.
func (c *Catalog) All() []*Entry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var all []*Entry
	for _, entries := range c.byTask {
		all = append(all, entries...)
	}
	return all
}

// Remove deletes logs and their files.
func (c *Catalog) Remove(entries []*Entry) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, entry := range entries {
		if err := os.RemoveAll(entry.Dir); err != nil {
			errs = append(errs, err)
			continue
		}
		rest := slices.DeleteFunc(slices.Clone(c.byTask[entry.TaskID]),
			func(e *Entry) bool { return e.Container == entry.Container })
		c.byTask[entry.TaskID] = rest
		if len(rest) == 0 {
			delete(c.byTask, entry.TaskID)
			errs = append(errs, remove(filepath.Dir(entry.Dir)))
		}
	}
	return errors.Join(errs...)
}
