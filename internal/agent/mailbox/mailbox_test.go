package mailbox

import (
	"context"
	"fmt"
	"testing"
)

func TestKeepsTheNewest(t *testing.T) {
	m := New[string, int]()
	m.Put("a", 1)
	m.Put("b", 2)
	m.Put("a", 3)
	var got []int
	for range 2 {
		v, _ := m.Take(t.Context())
		got = append(got, v)
	}
	if fmt.Sprint(got) != "[3 2]" {
		t.Errorf("took %v, want [3 2]", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if v, ok := m.Take(ctx); ok {
		t.Errorf("an empty mailbox gave %v", v)
	}
}
