package fault_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/bakingclouds/rollcall/internal/fault"
)

func TestError(t *testing.T) {
	e := fault.New(fault.Exists, "service", "A service with the name %q exists already", "cart").With("ServiceId", "srv-1")
	if got, want := e.Error(), `service: A service with the name "cart" exists already`; got != want {
		t.Errorf("Error() = %s, want %s", got, want)
	}
	if e.Fields["ServiceId"] != "srv-1" {
		t.Errorf("fields %v", e.Fields)
	}
	e.Err = io.EOF
	if got, want := e.Error(), `service: A service with the name "cart" exists already: EOF`; got != want {
		t.Errorf("with a cause, Error() = %s, want %s", got, want)
	}
	if !errors.Is(e, io.EOF) {
		t.Error("errors.Is does not find the cause")
	}
}

func TestIs(t *testing.T) {
	e := fault.New(fault.NotFound, "", "gone")
	for _, tc := range []struct {
		name string
		err  error
		want bool
	}{
		{"itself", e, true},
		{"wrapped", fmt.Errorf("read: %w", e), true},
		{"another kind", fault.New(fault.Limit, "", "too many"), false},
		{"another error", io.EOF, false},
		{"nil", nil, false},
	} {
		if got := fault.Is(tc.err, fault.NotFound); got != tc.want {
			t.Errorf("%s: Is = %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestKindNames(t *testing.T) {
	for kind := fault.Internal; kind <= fault.Unavailable; kind++ {
		if kind.String() == "" {
			t.Errorf("kind %d has no name", kind)
		}
	}
}
