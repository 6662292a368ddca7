package directory

// A set is a tree of three levels: leaves of instances, pages of leaves, and a slice of pages. A change copies a leaf,
// a page and the slice, which is no larger than a page even for 100,000 instances.
const (
	leafSize = 64
	pageSize = 64
	perPage  = leafSize * pageSize
)

// A leaf and a page have the generation of the builder at which they were created. Those of the current generation are
// not shared with any Set, so the builder may write to them in place.
type leaf struct {
	gen uint64
	at  [leafSize]*Instance
}

type page struct {
	gen    uint64
	leaves [pageSize]*leaf
}

// Set is an immutable, unordered set of instances. Access by position makes it suitable for random choice. The zero Set
// is empty.
type Set struct {
	pages []*page
	n     int
}

// Len returns the number of instances.
func (s Set) Len() int { return s.n }

// At returns the instance at position i, where 0 <= i < Len.
func (s Set) At(i int) *Instance {
	return s.pages[i/perPage].leaves[i/leafSize%pageSize].at[i%leafSize]
}

// builder is a set that Apply is changing. It copies a leaf or page that a frozen Set shares before it writes to it. It
// writes in place to those that it has created since the last freeze, so a batch of changes copies each leaf and page
// at most once. A builder has no leaves or pages beyond the last instance.
type builder struct {
	pages []*page
	own   bool // no Set shares the pages slice
	gen   uint64
	n     int
}

// freeze returns the current content as a Set.
func (b *builder) freeze() Set {
	b.own = false
	b.gen++
	return Set{pages: b.pages, n: b.n}
}

// push appends an instance and returns its position.
func (b *builder) push(i *Instance) int {
	pos := b.n
	b.n++
	b.set(pos, i)
	return pos
}

// remove removes the instance at pos, and moves the last instance there. It returns the moved instance, or nil if pos
// was the last position.
func (b *builder) remove(pos int) (moved *Instance) {
	last := b.n - 1
	if pos != last {
		moved = Set{b.pages, b.n}.At(last)
		b.set(pos, moved)
	}
	b.n = last
	switch {
	case last%perPage == 0:
		b.ownPages()
		b.pages[last/perPage] = nil
		b.pages = b.pages[:last/perPage]
	case last%leafSize == 0:
		b.page(last).leaves[last/leafSize%pageSize] = nil
	default:
		b.leaf(last).at[last%leafSize] = nil // so that the set does not keep the removed instance in memory
	}
	return moved
}

// set replaces the instance at a position.
func (b *builder) set(pos int, i *Instance) { b.leaf(pos).at[pos%leafSize] = i }

// leaf returns the leaf of a position, for writing.
func (b *builder) leaf(pos int) *leaf {
	slot := &b.page(pos).leaves[pos/leafSize%pageSize]
	switch l := *slot; {
	case l == nil:
		*slot = &leaf{gen: b.gen}
	case l.gen != b.gen:
		*slot = &leaf{gen: b.gen, at: l.at}
	}
	return *slot
}

// page returns the page of a position, for writing.
func (b *builder) page(pos int) *page {
	b.ownPages()
	k := pos / perPage
	if k == len(b.pages) {
		b.pages = append(b.pages, &page{gen: b.gen})
	} else if p := b.pages[k]; p.gen != b.gen {
		b.pages[k] = &page{gen: b.gen, leaves: p.leaves}
	}
	return b.pages[k]
}

// ownPages makes sure that no Set shares the pages slice.
func (b *builder) ownPages() {
	if !b.own {
		b.pages = append(make([]*page, 0, len(b.pages)+1), b.pages...)
		b.own = true
	}
}
