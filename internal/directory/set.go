package directory

// A set is a tree of three levels: leaves of instances, pages of leaves, and a slice of pages. One change
// copies a leaf, a page and that slice, which even for 100,000 instances is not more than a page.
const (
	leafSize = 64
	pageSize = 64
	perPage  = leafSize * pageSize
)

// leaf and page carry the generation of the builder that made them: those of its present generation are
// shared with no Set and may be written in place.
type leaf struct {
	gen uint64
	at  [leafSize]*Instance
}

type page struct {
	gen    uint64
	leaves [pageSize]*leaf
}

// Set is an immutable, unordered set of instances with access by position, for random choice.
// The zero Set is empty.
type Set struct {
	pages []*page
	n     int
}

// Len is the number of instances.
func (s Set) Len() int { return s.n }

// At returns instance i, 0 <= i < Len.
func (s Set) At(i int) *Instance {
	return s.pages[i/perPage].leaves[i/leafSize%pageSize].at[i%leafSize]
}

// builder is a set being changed by the one writer. What a frozen Set shares is copied before it is
// written; what was made since the last freeze is written in place, so a batch of changes copies each leaf
// and page once. Leaves and pages beyond the last instance are not there.
type builder struct {
	pages []*page
	own   bool // pages is shared with no Set
	gen   uint64
	n     int
}

// freeze returns the set as it is now.
func (b *builder) freeze() Set {
	b.own = false
	b.gen++
	return Set{pages: b.pages, n: b.n}
}

// push adds an instance and returns its position.
func (b *builder) push(i *Instance) int {
	pos := b.n
	b.n++
	b.set(pos, i)
	return pos
}

// remove takes out the instance at pos and returns the one that moved there, nil when none did.
func (b *builder) remove(pos int) (moved *Instance) {
	last := b.n - 1
	if pos != last {
		moved = Set{b.pages, b.n}.At(last)
		b.set(pos, moved)
	}
	b.n = last
	switch {
	case last%perPage == 0:
		b.ownTop()
		b.pages[last/perPage] = nil
		b.pages = b.pages[:last/perPage]
	case last%leafSize == 0:
		b.page(last).leaves[last/leafSize%pageSize] = nil
	default:
		b.leaf(last).at[last%leafSize] = nil // so that the set does not keep a removed instance alive
	}
	return moved
}

// set writes one position.
func (b *builder) set(pos int, i *Instance) { b.leaf(pos).at[pos%leafSize] = i }

// leaf returns the leaf of a position, to be written.
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

// page returns the page of a position, to be written.
func (b *builder) page(pos int) *page {
	b.ownTop()
	k := pos / perPage
	if k == len(b.pages) {
		b.pages = append(b.pages, &page{gen: b.gen})
	} else if p := b.pages[k]; p.gen != b.gen {
		b.pages[k] = &page{gen: b.gen, leaves: p.leaves}
	}
	return b.pages[k]
}

func (b *builder) ownTop() {
	if !b.own {
		b.pages = append(make([]*page, 0, len(b.pages)+1), b.pages...)
		b.own = true
	}
}
