package rollout

import (
	"cmp"
	"sync"

	"github.com/tidwall/btree"

	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// ServiceTasks holds the tasks of one service, grouped by deployment and by state, so that a plan visits only the tasks
// that it may act on. [ServiceTasks.Replace] updates it with one change of a task's row.
type ServiceTasks struct {
	deployments map[string]*deploymentTasks // by deployment id; only deployments that have tasks
}

// deploymentTasks holds the tasks of one deployment. A live task ([task.Task.Live]) is in exactly one of serving,
// pending and unhealthy; another task is in stopping until it has stopped. Independently of these, uncounted holds
// the failed tasks that the deployment's failure count does not include yet.
type deploymentTasks struct{ serving, pending, unhealthy, stopping, uncounted taskSet }

// taskSet is an ordered set of tasks. A plan stops tasks from its end.
type taskSet struct{ *btree.BTreeG[*task.Task] }

func newTaskSet(less func(a, b *task.Task) bool) taskSet {
	return taskSet{btree.NewBTreeGOptions(less, btree.Options{NoLocks: true, Degree: 16})}
}

func newDeploymentTasks() *deploymentTasks {
	return &deploymentTasks{
		serving: newTaskSet(servedLonger), pending: newTaskSet(createdBefore), unhealthy: newTaskSet(createdBefore),
		stopping: newTaskSet(createdBefore), uncounted: newTaskSet(createdBefore),
	}
}

func (s taskSet) copy() taskSet { return taskSet{s.Copy()} }

// createdBefore orders tasks by their creation, the newest last. Tasks created at the same time are ordered by id.
func createdBefore(a, b *task.Task) bool {
	return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID)) < 0
}

// servedLonger orders serving tasks by how long they have served, the shortest last.
func servedLonger(a, b *task.Task) bool {
	if c := a.Observed.HealthySince.Compare(*b.Observed.HealthySince); c != 0 {
		return c < 0
	}
	return createdBefore(a, b)
}

// NewServiceTasks returns the given tasks, which all belong to one service.
func NewServiceTasks(tasks ...*task.Task) *ServiceTasks {
	s := &ServiceTasks{deployments: map[string]*deploymentTasks{}}
	for _, t := range tasks {
		s.Replace(nil, t)
	}
	return s
}

// Replace replaces the row old of a task with the row new. old is nil for a task that is created, new for one that is
// deleted.
func (s *ServiceTasks) Replace(old, new *task.Task) {
	if old != nil {
		s.remove(old)
	}
	if new != nil {
		s.add(new)
	}
}

func (s *ServiceTasks) remove(t *task.Task) {
	d := s.deployments[t.Deployment]
	if d == nil {
		return
	}
	if set := d.setOf(t); set != nil {
		set.Delete(t)
	}
	if uncountedFailure(t) {
		d.uncounted.Delete(t)
	}
	if d.present() == 0 && d.uncounted.Len() == 0 {
		delete(s.deployments, t.Deployment)
	}
}

func (s *ServiceTasks) add(t *task.Task) {
	d := s.deployments[t.Deployment]
	if d == nil {
		d = newDeploymentTasks()
	}
	if set := d.setOf(t); set != nil {
		set.Set(t)
		s.deployments[t.Deployment] = d
	}
	if uncountedFailure(t) {
		d.uncounted.Set(t)
		s.deployments[t.Deployment] = d
	}
}

// setOf returns the set that a task belongs to, nil if it has stopped.
func (d *deploymentTasks) setOf(t *task.Task) *taskSet {
	switch {
	case t.Live() && t.Observed.Health == task.HealthUnhealthy:
		return &d.unhealthy
	case t.Serving():
		return &d.serving
	case t.Live():
		return &d.pending
	case t.Observed.State != task.Stopped:
		return &d.stopping
	}
	return nil
}

// live returns the number of live tasks.
func (d *deploymentTasks) live() int { return d.serving.Len() + d.pending.Len() + d.unhealthy.Len() }

// present returns the number of tasks that have not stopped, including those that are to stop.
func (d *deploymentTasks) present() int { return d.live() + d.stopping.Len() }

// present returns the number of the service's tasks that have not stopped, including those that are to stop.
func (s *ServiceTasks) present() (n int) {
	for _, d := range s.deployments {
		n += d.present()
	}
	return n
}

// Copy returns a copy that later calls of Replace do not change. Its cost does not grow with the number of tasks.
func (s *ServiceTasks) Copy() *ServiceTasks {
	c := &ServiceTasks{deployments: make(map[string]*deploymentTasks, len(s.deployments))}
	for id, d := range s.deployments {
		c.deployments[id] = &deploymentTasks{
			serving: d.serving.copy(), pending: d.pending.copy(), unhealthy: d.unhealthy.copy(),
			stopping: d.stopping.copy(), uncounted: d.uncounted.copy(),
		}
	}
	return c
}

// taskIndex holds the tasks of all services. The loop updates it from the store's changes.
type taskIndex struct {
	mu       sync.Mutex
	services map[string]*ServiceTasks // by service key
}

// update applies one change of the row of a service's task.
func (x *taskIndex) update(row store.RowChange) {
	x.mu.Lock()
	defer x.mu.Unlock()
	old, _ := row.Old.(*task.Task)
	new, _ := row.New.(*task.Task)
	key := row.Row().(*task.Task).ServiceKey()
	tasks := x.services[key]
	if tasks == nil {
		tasks = NewServiceTasks()
		x.services[key] = tasks
	}
	tasks.Replace(old, new)
	if len(tasks.deployments) == 0 {
		delete(x.services, key)
	}
}

// tasksOf returns a copy of the current tasks of a service.
func (x *taskIndex) tasksOf(serviceKey string) *ServiceTasks {
	x.mu.Lock()
	defer x.mu.Unlock()
	if tasks := x.services[serviceKey]; tasks != nil {
		return tasks.Copy()
	}
	return NewServiceTasks()
}
