package directory

import (
	"cmp"
	"slices"
)

// Batch is a set of changes that belong to one revision. It is valid only during [Directory.Apply].
type Batch struct {
	d     *Directory
	first bool           // the batch contains the state from before this process started
	dirty []*serviceNode // services to publish
	added []*serviceNode // services to index by name
}

// Apply applies one store revision. change makes the changes; then Apply publishes each changed service atomically. The
// first call carries the whole state at the start of the process. When Apply returns, Applied returns rev, and every
// reader sees all changes of the revision.
//
// Parents must be added before their children. A service of an unknown namespace, an instance of an unknown service,
// and a removal of something unknown are ignored; the store's transactions prevent them.
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
		n.index()
	}
	d.applied.Store(rev)
}

// PutNamespace adds a namespace or changes its settings. Its id, region, name, HTTP name and kind never change.
func (b *Batch) PutNamespace(ns Namespace) {
	st, known := b.d.byID.get(ns.ID)
	if !known {
		st = &nsState{}
	}
	st.ns.Store(&ns)
	if known {
		for _, n := range st.services.all() {
			b.markDirty(n) // views contain the namespace's settings
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

// RemoveNamespace removes a namespace with all services in it.
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
	if current, _ := b.d.byHTTP.get(name); current == st { // a new namespace may already have the name
		b.d.byHTTP.remove(name)
	}
}

// setZones replaces the zones with a name by a changed copy, in the order in which Zone considers them.
func (b *Batch) setZones(name string, change func([]*Zone) []*Zone) {
	old, _ := b.d.zones.get(name)
	zs := change(slices.Clone(old))
	if len(zs) == 0 {
		b.d.zones.remove(name)
		return
	}
	slices.SortStableFunc(zs, func(a, c *Zone) int { return comparePrecedence(a.Namespace(), c.Namespace()) })
	b.d.zones.put(name, zs)
}

// comparePrecedence orders namespaces with the same name. Private ones precede public ones, as in Route 53, where a
// private hosted zone hides the public one from its VPCs; then the older one precedes.
func comparePrecedence(a, c *Namespace) int {
	if (a.Kind == Public) != (c.Kind == Public) {
		if c.Kind == Public {
			return -1
		}
		return 1
	}
	return cmp.Compare(a.Order, c.Order)
}

// PutService adds a service or changes its settings. Its id, namespace, name and record types never change.
func (b *Batch) PutService(s Service) {
	if n, ok := b.d.service.get(s.ID); ok {
		s.Revision = max(s.Revision, n.service.Revision) // the InstancesRevision never decreases
		n.service = s
		b.markDirty(n)
		return
	}
	st, ok := b.d.byID.get(s.NamespaceID)
	if !ok {
		return
	}
	n := &serviceNode{service: s, ns: st, name: fullName(st.ns.Load(), &s), instances: map[string]*slot{}}
	b.markDirty(n)
	b.added = append(b.added, n)
	b.d.service.put(s.ID, n)
}

// index makes a new service findable by its name. Apply calls it after it has published the service, so that no reader
// sees the service without the instances of the same revision.
func (n *serviceNode) index() {
	if n.removed {
		return
	}
	n.indexed = true
	n.ns.services.put(n.ns.serviceKey(n.service.Name), n)
	if n.name == "" {
		return
	}
	n.ns.zone.addRefs(n.name, 1, n)
	for _, s := range n.instances {
		n.addHostRefs(s.inst, 1)
	}
}

// SetRevision sets a service's InstancesRevision, unless it is already greater.
func (b *Batch) SetRevision(serviceID string, rev int64) {
	if n, ok := b.d.service.get(serviceID); ok && rev > n.service.Revision {
		n.service.Revision = rev
		b.markDirty(n)
	}
}

// RemoveService removes a service with all its instances.
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
	if !n.indexed {
		return
	}
	for _, s := range n.instances {
		n.addHostRefs(s.inst, -1)
	}
	n.ns.services.remove(n.ns.serviceKey(n.service.Name))
	if n.name != "" {
		n.ns.zone.addRefs(n.name, -1, nil).service.Store(nil)
	}
}

// PutInstance adds an instance, or replaces the one with its id.
func (b *Batch) PutInstance(i *Instance) {
	n, ok := b.d.service.get(i.ServiceID)
	if !ok {
		return
	}
	if old, ok := n.instances[i.ID]; ok {
		i.expiry = b.expiryFor(n, i, old.inst)
		if old.inst.State == i.State {
			n.sets[i.State].set(old.pos, i)
			n.mu.Lock()
			old.inst = i
			n.mu.Unlock()
		} else {
			n.removeFromSet(old)
			pos := n.sets[i.State].push(i)
			n.mu.Lock()
			old.inst, old.pos = i, pos
			n.mu.Unlock()
		}
		b.markDirty(n)
		return
	}
	i.expiry = b.expiryFor(n, i, nil)
	s := &slot{inst: i, pos: n.sets[i.State].push(i)}
	n.mu.Lock()
	n.instances[i.ID] = s
	if c := CanonicalName(i.ID); c != i.ID {
		if n.canonical == nil {
			n.canonical = map[string]string{}
		}
		n.canonical[c] = i.ID
	}
	n.mu.Unlock()
	n.addHostRefs(i, 1)
	b.markDirty(n)
}

// RemoveInstance removes an instance.
func (b *Batch) RemoveInstance(serviceID, id string) {
	n, ok := b.d.service.get(serviceID)
	if !ok {
		return
	}
	s, ok := n.instances[id]
	if !ok {
		return
	}
	n.removeFromSet(s)
	n.removeHost(s.inst)
	b.d.removed.add(s.inst)
	n.mu.Lock()
	delete(n.instances, id)
	n.mu.Unlock()
	b.markDirty(n)
}

// removeFromSet removes an instance from the set of its state, and updates the position of the instance that takes its
// place.
func (n *serviceNode) removeFromSet(s *slot) {
	if moved := n.sets[s.inst.State].remove(s.pos); moved != nil {
		n.instances[moved.ID].pos = s.pos
	}
}

// addHostRefs adds delta references to the names between an instance's host name and its service, which exist as long
// as the instance does. For a service that is not indexed yet, index adds them.
func (n *serviceNode) addHostRefs(i *Instance, delta int) {
	if !n.indexed {
		return
	}
	if _, srv := n.service.TTL(SRV); !srv || n.name == "" {
		return
	}
	if name := parentName(CanonicalName(i.ID), n.name); name != "" {
		n.ns.zone.addRefs(name, delta, nil)
	}
}

// removeHost removes the references of an instance's host name, and its canonical id.
func (n *serviceNode) removeHost(i *Instance) {
	n.addHostRefs(i, -1)
	if c := CanonicalName(i.ID); c != i.ID {
		n.mu.Lock()
		if n.canonical[c] == i.ID {
			delete(n.canonical, c)
		}
		n.mu.Unlock()
	}
}

// markDirty marks a service to be published at the end of the batch.
func (b *Batch) markDirty(n *serviceNode) {
	if !n.dirty {
		n.dirty = true
		b.dirty = append(b.dirty, n)
	}
}

// publish replaces the service's view by one of its current state, and wakes the callers that wait until the previous
// view is superseded.
func (n *serviceNode) publish(rev int64) {
	if n.removed {
		return
	}
	v := &View{
		Service: n.service, Namespace: n.ns.ns.Load(), FullName: n.name, StoreRevision: rev,
		superseded: make(chan struct{}),
	}
	for s := range n.sets {
		v.sets[s] = n.sets[s].freeze()
	}
	if old := n.view.Swap(v); old != nil {
		close(old.superseded)
	}
	n.dirty = false
}
