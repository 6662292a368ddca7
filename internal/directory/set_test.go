package directory

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestBuilder changes a set at random, around the bounds of its leaves and pages, and compares it with a slice. Every
// set that was frozen on the way has to stay as it was.
func TestBuilder(t *testing.T) {
	type frozen struct {
		set  Set
		want []*Instance
	}
	rapid.Check(t, func(t *rapid.T) {
		var b builder
		var want []*Instance
		var kept []frozen
		push := func() {
			i := &Instance{}
			if pos := b.push(i); pos != len(want) {
				t.Fatalf("push at %d, want %d", pos, len(want))
			}
			want = append(want, i)
		}
		for range rapid.SampledFrom([]int{0, 1, leafSize - 1, leafSize, leafSize + 1, 3*leafSize - 1, perPage - 1, perPage, perPage + 1}).Draw(t, "start") {
			push()
		}
		for range rapid.IntRange(1, 30).Draw(t, "changes") {
			switch change := rapid.SampledFrom([]string{"push", "remove", "remove", "set", "freeze"}).Draw(t, "change"); {
			case change == "push":
				push()
			case change == "freeze":
				kept = append(kept, frozen{b.freeze(), slices.Clone(want)})
			case len(want) == 0:
			default:
				at := rapid.IntRange(0, len(want)-1).Draw(t, "at")
				if change == "set" {
					want[at] = &Instance{}
					b.set(at, want[at])
					continue
				}
				last := len(want) - 1
				var moves *Instance
				if at != last {
					moves = want[last]
				}
				if moved := b.remove(at); moved != moves {
					t.Fatalf("remove %d of %d moved the wrong one", at, len(want))
				}
				want[at] = want[last]
				want = want[:last]
			}
		}
		kept = append(kept, frozen{b.freeze(), want})
		for k, f := range kept {
			got := make([]*Instance, 0, f.set.Len())
			for i := range f.set.Len() {
				got = append(got, f.set.At(i))
			}
			if !slices.Equal(got, f.want) {
				t.Fatalf("set %d of %d is not what was frozen: %d instances, want %d", k+1, len(kept), len(got), len(f.want))
			}
		}
		for pos := len(want); pos < len(b.pages)*perPage; pos++ {
			if l := b.pages[pos/perPage].leaves[pos/leafSize%pageSize]; l != nil && l.at[pos%leafSize] != nil {
				t.Fatalf("position %d of a set of %d keeps an instance alive", pos, len(want))
			}
		}
	})
}
