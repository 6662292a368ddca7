package directory

// chunkSize is how many instances one change copies at the most, beside the slice of chunk pointers.
const chunkSize = 128

type chunk [chunkSize]*Instance

// Set is an immutable, unordered set of instances with access by position, for random choice.
// The zero Set is empty.
type Set struct {
	chunks []*chunk
	n      int
}

// Len is the number of instances.
func (s Set) Len() int { return s.n }

// At returns instance i, 0 <= i < Len.
func (s Set) At(i int) *Instance { return s.chunks[i/chunkSize][i%chunkSize] }

// builder is a set being changed by the one writer. What a frozen Set shares is copied before it is
// written; what was copied since the last freeze is written in place, so a batch of changes copies each
// chunk once.
type builder struct {
	chunks []*chunk
	mine   []bool // mine[i]: chunks[i] is shared with no Set
	own    bool   // so is chunks itself
	n      int
}

// freeze returns the set as it is now.
func (b *builder) freeze() Set {
	if b.own {
		clear(b.mine)
		b.own = false
	}
	return Set{chunks: b.chunks, n: b.n}
}

// push adds an instance and returns its position.
func (b *builder) push(i *Instance) int {
	pos := b.n
	b.ownTop()
	if pos/chunkSize == len(b.chunks) {
		b.chunks = append(b.chunks, new(chunk))
		b.mine = append(b.mine, true)
	}
	b.n++
	b.set(pos, i)
	return pos
}

// remove takes out the instance at pos and returns the one that moved there, nil when none did.
func (b *builder) remove(pos int) (moved *Instance) {
	b.ownTop()
	last := b.n - 1
	if pos != last {
		moved = b.chunks[last/chunkSize][last%chunkSize]
		b.set(pos, moved)
	}
	b.n = last
	if last%chunkSize == 0 {
		b.chunks = b.chunks[:last/chunkSize]
		b.mine = b.mine[:last/chunkSize]
	} else {
		b.set(last, nil) // so that the set does not keep a removed instance alive
	}
	return moved
}

// set writes one position.
func (b *builder) set(pos int, i *Instance) {
	b.ownTop()
	c := pos / chunkSize
	if !b.mine[c] {
		dup := *b.chunks[c]
		b.chunks[c] = &dup
		b.mine[c] = true
	}
	b.chunks[c][pos%chunkSize] = i
}

func (b *builder) ownTop() {
	if !b.own {
		b.chunks = append(make([]*chunk, 0, len(b.chunks)+1), b.chunks...)
		b.own = true
	}
}
