package rollout

import (
	"cmp"
	"sync"
	"time"

	"github.com/tidwall/btree"

	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// ServiceTasks is a service's tasks, sorted by what a plan asks about them, so that a plan looks at those that
// matter to it and not at all. A fleet follows its tasks' rows one change at a time.
type ServiceTasks struct {
	deployments map[string]*squad // by id; only those that have tasks
}

// squad is the tasks of one deployment. Those that are wanted and have not ended are serving, or sick, or
// coming; those that are not wanted are ending until they have ended. Beside that, failed are those whose end
// is a failure that has not been taken into account.
type squad struct{ serving, coming, sick, ending, failed class }

// class is tasks in order; the last are those that little is lost by stopping.
type class struct{ *btree.BTreeG[*task.Task] }

func newClass(less func(a, b *task.Task) bool) class {
	return class{btree.NewBTreeGOptions(less, btree.Options{NoLocks: true, Degree: 16})}
}

func newSquad() *squad {
	return &squad{newClass(byService), newClass(byCreation), newClass(byCreation), newClass(byCreation), newClass(byCreation)}
}

func (c class) copy() class { return class{c.Copy()} }

// byCreation sorts the newest task last; of several, ids decide.
func byCreation(a, b *task.Task) bool {
	return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID)) < 0
}

// byService sorts the task last that has served for the shortest time.
func byService(a, b *task.Task) bool {
	if c := a.Observed.HealthySince.Compare(*b.Observed.HealthySince); c != 0 {
		return c < 0
	}
	return byCreation(a, b)
}

// NewServiceTasks sorts tasks.
func NewServiceTasks(tasks ...*task.Task) *ServiceTasks {
	f := &ServiceTasks{deployments: map[string]*squad{}}
	for _, t := range tasks {
		f.Replace(nil, t)
	}
	return f
}

// Replace takes in that a task's row was old and is new; nil is none.
func (f *ServiceTasks) Replace(old, new *task.Task) {
	if old != nil {
		if s := f.deployments[old.Deployment]; s != nil {
			if c := s.class(old); c != nil {
				c.Delete(old)
			}
			if uncounted(old) {
				s.failed.Delete(old)
			}
			if s.present() == 0 && s.failed.Len() == 0 {
				delete(f.deployments, old.Deployment)
			}
		}
	}
	if new == nil {
		return
	}
	s := f.deployments[new.Deployment]
	if s == nil {
		s = newSquad()
	}
	if c := s.class(new); c != nil {
		c.Set(new)
		f.deployments[new.Deployment] = s
	}
	if uncounted(new) {
		s.failed.Set(new)
		f.deployments[new.Deployment] = s
	}
}

// class finds where a task belongs; nil is nowhere.
func (s *squad) class(t *task.Task) *class {
	switch {
	case t.Live() && t.Observed.Health == task.HealthUnhealthy:
		return &s.sick
	case t.Serving():
		return &s.serving
	case t.Live():
		return &s.coming
	case t.Observed.State != task.Stopped:
		return &s.ending
	}
	return nil
}

// uncounted reports whether a task has failed and the service's failures do not count it yet.
func uncounted(t *task.Task) bool {
	return t.Desired == task.DesiredStopped && !t.Counted && failure(t)
}

// live is how many tasks are wanted and have not ended.
func (s *squad) live() int { return s.serving.Len() + s.coming.Len() + s.sick.Len() }

// present is how many tasks have not ended, whatever is wanted of them.
func (s *squad) present() int { return s.live() + s.ending.Len() }

// present is how many tasks have not ended.
func (f *ServiceTasks) present() (n int) {
	for _, s := range f.deployments {
		n += s.present()
	}
	return n
}

// Copy is the fleet as it is now. It costs nothing that grows with the fleet.
func (f *ServiceTasks) Copy() *ServiceTasks {
	g := &ServiceTasks{deployments: make(map[string]*squad, len(f.deployments))}
	for id, s := range f.deployments {
		g.deployments[id] = &squad{s.serving.copy(), s.coming.copy(), s.sick.copy(), s.ending.copy(), s.failed.copy()}
	}
	return g
}

// steady is how long a task must have served to show that its definition works, where no health check has
// spoken for it. ECS waits 40 s.
const steady = 10 * time.Second

// failure reports whether a task's end speaks against its definition: it did not start, ended or turned
// unhealthy before it had served for long.
func failure(t *task.Task) bool {
	switch {
	case t.StopCode == task.TaskFailedToStart || t.StoppedReason == ReasonUnhealthy:
		return true
	case t.StopCode != task.EssentialContainerExited:
		return false
	case t.Observed.StartedAt == nil || t.StoppingAt == nil:
		return true
	}
	return t.StoppingAt.Sub(*t.Observed.StartedAt) < steady
}

// fleets are all services' tasks, by the keys of the services. They follow the store.
type fleets struct {
	mu        sync.Mutex
	byService map[string]*ServiceTasks
}

// change takes in one row of a service's task.
func (fs *fleets) change(old, new *task.Task) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var key string
	if new != nil {
		key = new.ServiceKey()
	} else {
		key = old.ServiceKey()
	}
	f := fs.byService[key]
	if f == nil {
		f = NewServiceTasks()
		fs.byService[key] = f
	}
	f.Replace(old, new)
	if len(f.deployments) == 0 {
		delete(fs.byService, key)
	}
}

// of is the fleet of a service as it is now.
func (fs *fleets) of(key string) *ServiceTasks {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.byService[key]; f != nil {
		return f.Copy()
	}
	return NewServiceTasks()
}

// taskChange is the rows of a task before and after.
func taskChange(r store.RowChange) (old, new *task.Task) {
	old, _ = r.Old.(*task.Task)
	new, _ = r.New.(*task.Task)
	return old, new
}
