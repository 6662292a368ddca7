package directory

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// frozen is a frozen set and its expected instances.
type frozen struct {
	set  Set
	want []*Instance
}

func instancesOf(s Set) []*Instance {
	all := make([]*Instance, 0, s.Len())
	for i := range s.Len() {
		all = append(all, s.At(i))
	}
	return all
}

// TestBuilder makes random changes to a set whose size is near the limits of its leaves and pages, and compares it with
// a slice. A frozen set must never change.
func TestBuilder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b builder
		var want []*Instance
		var kept []frozen
		push := func() {
			i := &Instance{}
			if pos := b.push(i); pos != len(want) {
				t.Fatalf("push returned position %d, want %d", pos, len(want))
			}
			want = append(want, i)
		}
		sizes := []int{0, 1, leafSize - 1, leafSize, leafSize + 1, 3*leafSize - 1, perPage - 1, perPage, perPage + 1}
		for range rapid.SampledFrom(sizes).Draw(t, "size") {
			push()
		}
		for range rapid.IntRange(1, 30).Draw(t, "changes") {
			changes := []string{"push", "remove", "remove", "set", "freeze"}
			switch change := rapid.SampledFrom(changes).Draw(t, "change"); {
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
				var wantMoved *Instance
				if at != last {
					wantMoved = want[last]
				}
				if moved := b.remove(at); moved != wantMoved {
					t.Fatalf("remove at %d of %d moved the wrong instance", at, len(want))
				}
				want[at] = want[last]
				want = want[:last]
			}
		}
		kept = append(kept, frozen{b.freeze(), want})
		for k, f := range kept {
			if got := instancesOf(f.set); !slices.Equal(got, f.want) {
				t.Fatalf("set %d of %d changed after it was frozen: %d instances, want %d",
					k+1, len(kept), len(got), len(f.want))
			}
		}
		for pos := len(want); pos < len(b.pages)*perPage; pos++ {
			if l := b.pages[pos/perPage].leaves[pos/leafSize%pageSize]; l != nil && l.at[pos%leafSize] != nil {
				t.Fatalf("position %d of a set of %d keeps a removed instance in memory", pos, len(want))
			}
		}
	})
}
