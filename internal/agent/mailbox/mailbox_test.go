package mailbox

import (
	"context"
	"fmt"
	"testing"
)

func TestTake(t *testing.T) {
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
		t.Errorf("Take returned %v, want [3 2]", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if v, ok := m.Take(ctx); ok {
		t.Errorf("Take of an empty mailbox returned %v", v)
	}
}

// TestDeliver checks that values arrive in the order of their keys, and that the channel is closed when the context
// ends.
func TestDeliver(t *testing.T) {
	m := New[string, int]()
	m.Put("a", 1)
	m.Put("b", 2)
	ctx, cancel := context.WithCancel(t.Context())
	out := make(chan int)
	go m.Deliver(ctx, out)
	if got := []int{<-out, <-out}; fmt.Sprint(got) != "[1 2]" {
		t.Errorf("Deliver sent %v, want [1 2]", got)
	}
	cancel()
	if v, open := <-out; open {
		t.Errorf("after the context ended, Deliver sent %v", v)
	}
}
