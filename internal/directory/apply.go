package directory

import (
	"cmp"
	"slices"
)

// Batch is the changes of one revision. It is used inside [Directory.Apply] only.
type Batch struct {
	d     *Directory
	first bool // what it brings was there before this process
	dirty []*serviceNode
	added []*serviceNode // not yet found by their names
}

// Apply takes in one store revision, the first one with all that was there when the process started: change makes the changes, then each service that it touched is shown
// at once. When Apply returns, Applied is rev and every reader sees the revision whole.
//
// The parents come first: a service of an unknown namespace, or an instance of an unknown service, is
// ignored, as is the removal of what is not there; the store's transactions keep that from happening.
func (d *Directory) Apply(rev int64, change func(*Batch)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := &Batch{d: d, first: !d.filled}
	d.filled = true
	change(b)
	for _, n := range b.dirty {
		n.publish(rev)
	}
	for _, n := range b.added {
		n.link()
	}
	d.applied.Store(rev)
}

// PutNamespace adds a namespace or changes its settings. Its id, region, name, HTTP name and kind are for life.
func (b *Batch) PutNamespace(ns Namespace) {
	st, known := b.d.byID.get(ns.ID)
	if !known {
		st = &nsState{}
	}
	st.ns.Store(&ns)
	if known {
		for _, n := range st.services.all() {
			b.touch(n) // views carry the namespace's settings
		}
		return
	}
	if ns.Kind != HTTP {
		st.zone = &Zone{state: st}
		b.setZones(CanonicalName(ns.Name), func(zs []*Zone) []*Zone { return append(zs, st.zone) })
	}
	b.d.byID.put(ns.ID, st)
	b.d.byHTTP.put(ns.Region+"\x00"+ns.HTTPName, st)
}

// RemoveNamespace takes a namespace and whatever is still in it away.
func (b *Batch) RemoveNamespace(id string) {
	st, ok := b.d.byID.get(id)
	if !ok {
		return
	}
	for _, n := range st.services.all() {
		b.RemoveService(n.service.ID)
	}
	for _, n := range b.added {
		if n.ns == st {
			b.RemoveService(n.service.ID)
		}
	}
	ns := st.ns.Load()
	if st.zone != nil {
		b.setZones(CanonicalName(ns.Name), func(zs []*Zone) []*Zone {
			return slices.DeleteFunc(zs, func(z *Zone) bool { return z == st.zone })
		})
	}
	b.d.byID.remove(id)
	name := ns.Region + "\x00" + ns.HTTPName
	if holder, _ := b.d.byHTTP.get(name); holder == st { // a new namespace may have the name already
		b.d.byHTTP.remove(name)
	}
}

// setZones changes the zones of one name on a copy, in the order in which they are asked.
func (b *Batch) setZones(name string, change func([]*Zone) []*Zone) {
	old, _ := b.d.zones.get(name)
	zs := change(slices.Clone(old))
	if len(zs) == 0 {
		b.d.zones.remove(name)
		return
	}
	slices.SortStableFunc(zs, func(a, c *Zone) int { return before(a.Namespace(), c.Namespace()) })
	b.d.zones.put(name, zs)
}

// before orders namespaces of one name: private before public, as in Route 53 (a private hosted zone hides
// the public one from its VPCs), then the older.
func before(a, c *Namespace) int {
	if (a.Kind == Public) != (c.Kind == Public) {
		if c.Kind == Public {
			return -1
		}
		return 1
	}
	return cmp.Compare(a.Order, c.Order)
}

// PutService adds a service or changes its settings. Its id, namespace, name and record types are for life.
func (b *Batch) PutService(s Service) {
	if n, ok := b.d.service.get(s.ID); ok {
		s.Revision = max(s.Revision, n.service.Revision) // settings change, the count of registrations goes on
		n.service = s
		b.touch(n)
		return
	}
	st, ok := b.d.byID.get(s.NamespaceID)
	if !ok {
		return
	}
	n := &serviceNode{service: s, ns: st, name: fullName(st.ns.Load(), &s), instances: map[string]*slot{}}
	b.touch(n)
	b.added = append(b.added, n)
	b.d.service.put(s.ID, n)
}

// link makes a new service found by its name, once it is published: a service that comes with its
// instances is never seen without them.
func (n *serviceNode) link() {
	if n.removed {
		return
	}
	n.linked = true
	n.ns.services.put(n.ns.fold(n.service.Name), n)
	if n.name == "" {
		return
	}
	n.ns.zone.ref(n.name, 1, n)
	for _, s := range n.instances {
		n.refHost(s.inst, 1)
	}
}

// SetRevision sets a service's InstancesRevision; a smaller one than it has is ignored.
func (b *Batch) SetRevision(serviceID string, rev int64) {
	if n, ok := b.d.service.get(serviceID); ok && rev > n.service.Revision {
		n.service.Revision = rev
		b.touch(n)
	}
}

// RemoveService takes a service and whatever instances it still has away.
func (b *Batch) RemoveService(id string) {
	n, ok := b.d.service.get(id)
	if !ok {
		return
	}
	b.d.service.remove(id)
	n.removed = true
	if last := n.view.Load(); last != nil {
		close(last.superseded)
	}
	if !n.linked {
		return
	}
	for _, s := range n.instances {
		n.refHost(s.inst, -1)
	}
	n.ns.services.remove(n.ns.fold(n.service.Name))
	if n.name != "" {
		n.ns.zone.ref(n.name, -1, nil).service.Store(nil)
	}
}

// PutInstance adds an instance, or replaces the one of its id.
func (b *Batch) PutInstance(i *Instance) {
	n, ok := b.d.service.get(i.ServiceID)
	if !ok {
		return
	}
	if old, ok := n.instances[i.ID]; ok {
		i.hold = b.holdOf(n, i, old.inst)
		if old.inst.State == i.State {
			n.sets[i.State].set(old.pos, i)
			n.mu.Lock()
			old.inst = i
			n.mu.Unlock()
		} else {
			n.take(old)
			pos := n.sets[i.State].push(i)
			n.mu.Lock()
			old.inst, old.pos = i, pos
			n.mu.Unlock()
		}
		b.touch(n)
		return
	}
	i.hold = b.holdOf(n, i, nil)
	s := &slot{inst: i, pos: n.sets[i.State].push(i)}
	n.mu.Lock()
	n.instances[i.ID] = s
	if f := CanonicalName(i.ID); f != i.ID {
		if n.folded == nil {
			n.folded = map[string]string{}
		}
		n.folded[f] = i.ID
	}
	n.mu.Unlock()
	n.refHost(i, 1)
	b.touch(n)
}

// RemoveInstance takes an instance away.
func (b *Batch) RemoveInstance(serviceID, id string) {
	n, ok := b.d.service.get(serviceID)
	if !ok {
		return
	}
	s, ok := n.instances[id]
	if !ok {
		return
	}
	n.take(s)
	n.forgetHost(s.inst)
	b.d.departed.add(s.inst)
	n.mu.Lock()
	delete(n.instances, id)
	n.mu.Unlock()
	b.touch(n)
}

// take removes a slot from the set of its state and tells the one that moved in its place.
func (n *serviceNode) take(s *slot) {
	if moved := n.sets[s.inst.State].remove(s.pos); moved != nil {
		n.instances[moved.ID].pos = s.pos
	}
}

// refHost counts the names between a host name and its service, which exist as long as the host does.
// For a service that is not linked yet, link counts them.
func (n *serviceNode) refHost(i *Instance, delta int) {
	if !n.linked {
		return
	}
	if _, srv := n.service.TTL(SRV); !srv || n.name == "" {
		return
	}
	if name := above(CanonicalName(i.ID), n.name); name != "" {
		n.ns.zone.ref(name, delta, nil)
	}
}

func (n *serviceNode) forgetHost(i *Instance) {
	n.refHost(i, -1)
	if f := CanonicalName(i.ID); f != i.ID {
		n.mu.Lock()
		if n.folded[f] == i.ID {
			delete(n.folded, f)
		}
		n.mu.Unlock()
	}
}

// touch marks a service to be shown at the end of the batch.
func (b *Batch) touch(n *serviceNode) {
	if !n.dirty {
		n.dirty = true
		b.dirty = append(b.dirty, n)
	}
}

// publish shows the service as it is now, at a revision, and wakes those who wait for the view before to
// be superseded.
func (n *serviceNode) publish(rev int64) {
	if n.removed {
		return
	}
	v := &View{Service: n.service, Namespace: n.ns.ns.Load(), FullName: n.name, StoreRevision: rev, superseded: make(chan struct{})}
	for s := range n.sets {
		v.sets[s] = n.sets[s].freeze()
	}
	if old := n.view.Swap(v); old != nil {
		close(old.superseded)
	}
	n.dirty = false
}
