package expire

import (
	"log/slog"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/attributes"
	"github.com/bakingclouds/rollcall/internal/registry"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func leased(id string, seconds int, renewed time.Time) *registry.Instance {
	i := &registry.Instance{ID: id, Operation: "op-" + id, Renewed: renewed}
	if seconds > 0 {
		i.Attributes = attributes.Of(map[string]string{registry.AttrLease: strconv.Itoa(seconds)})
	}
	return i
}

func newLeases() *Leases { return &Leases{log: slog.Default(), held: map[string]*lease{}} }

func (l *Leases) over(d time.Duration) []string {
	var ids []string
	for _, i := range l.pass(d) {
		ids = append(ids, i.ID)
	}
	slices.Sort(ids)
	return ids
}

func TestLeasesEnd(t *testing.T) {
	l := newLeases()
	l.see("a", leased("a", 10, noon))
	l.see("b", leased("b", 20, noon))
	l.see("c", leased("c", 0, time.Time{}))
	if got := l.over(9 * time.Second); len(got) != 0 {
		t.Fatalf("after 9 s: %v", got)
	}
	l.see("a", leased("a", 10, noon.Add(9*time.Second))) // renewed
	if got := l.over(9 * time.Second); len(got) != 0 {
		t.Fatalf("after 18 s, a renewed at 9 s: %v", got)
	}
	if got := l.over(2 * time.Second); !slices.Equal(got, []string{"a", "b"}) {
		t.Fatalf("after 20 s: %v, want a and b", got)
	}
	if got := l.over(time.Hour); len(got) != 0 {
		t.Fatalf("expired twice: %v", got)
	}
}

// A change that is no renewal, of health say, does not keep a lease alive.
func TestOnlyRenewalsCount(t *testing.T) {
	l := newLeases()
	l.see("a", leased("a", 10, noon))
	l.pass(6 * time.Second)
	sick := leased("a", 10, noon)
	sick.Health = registry.Unhealthy
	l.see("a", sick)
	if got := l.over(4 * time.Second); !slices.Equal(got, []string{"a"}) {
		t.Fatalf("after 10 s: %v, want a", got)
	}
}

func TestRestartBeginsAnew(t *testing.T) {
	l := newLeases()
	l.see("a", leased("a", 10, noon))
	l.see("b", leased("b", 10, noon))
	if got := l.over(10 * time.Second); len(got) != 2 {
		t.Fatalf("after 10 s: %v", got)
	}
	l.restart() // ending them failed
	if got := l.over(9 * time.Second); len(got) != 0 {
		t.Fatalf("9 s after a restart: %v", got)
	}
	l.forget("b") // deregistered by hand
	if got := l.over(time.Second); !slices.Equal(got, []string{"a"}) {
		t.Fatalf("10 s after a restart: %v, want a", got)
	}
}

func TestManyEndInBatches(t *testing.T) {
	l := newLeases()
	for i := range 3*batch + 1 {
		id := strconv.Itoa(i)
		l.see(id, leased(id, 1+i%5, noon))
	}
	total := 0
	for got := l.over(5 * time.Second); len(got) > 0; got = l.over(0) {
		if len(got) > batch {
			t.Fatalf("%d in one batch", len(got))
		}
		total += len(got)
	}
	if total != 3*batch+1 {
		t.Errorf("%d ended, want %d", total, 3*batch+1)
	}
}
