package ecserr

import (
	"errors"
	"fmt"
	"testing"

	"github.com/aws/smithy-go"

	"github.com/bakingclouds/rollcall/internal/fault"
)

// code returns the code of an API error, an empty string for nil, or "untyped".
func code(err error) string {
	var api smithy.APIError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &api):
		return api.ErrorCode()
	}
	return "untyped"
}

func TestTable(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want string
	}{
		{fault.New(fault.NotFound, "cluster", "gone"), "ClusterNotFoundException"},
		{fault.New(fault.NotFound, "task definition", "gone"), "ClientException"},
		{fault.New(fault.NotFound, "task", "gone"), "InvalidParameterException"},
		{fault.New(fault.NotActive, "service", "draining"), "ServiceNotActiveException"},
		{fault.New(fault.InUse, "services", "busy"), "ClusterContainsServicesException"},
		{fmt.Errorf("wrapped: %w", fault.New(fault.NotFound, "cluster", "gone")), "ClusterNotFoundException"},
		{fault.New(fault.NotFound, "namespace", "gone"), ""},
		{errors.New("not a fault"), ""},
	} {
		if got := code(Table.Translate(tc.err)); got != tc.want {
			t.Errorf("Translate(%v) has the code %q, want %q", tc.err, got, tc.want)
		}
	}
}

func TestOneOf(t *testing.T) {
	type color string
	colors := []color{"red", "blue"}
	for _, tc := range []struct {
		v                   color
		oneOf, requireOneOf string
	}{
		{"red", "", ""},
		{"", "", "InvalidParameterException"},
		{"green", "InvalidParameterException", "InvalidParameterException"},
	} {
		if got := code(OneOf("color", tc.v, colors)); got != tc.oneOf {
			t.Errorf("OneOf(%q) = %q, want %q", tc.v, got, tc.oneOf)
		}
		if got := code(RequireOneOf("color", tc.v, colors)); got != tc.requireOneOf {
			t.Errorf("RequireOneOf(%q) = %q, want %q", tc.v, got, tc.requireOneOf)
		}
	}
	var api smithy.APIError
	if errors.As(OneOf("color", color("green"), colors), &api); api.ErrorMessage() != "color should be one of [red,blue]" {
		t.Errorf("message %q", api.ErrorMessage())
	}
}

func TestFirst(t *testing.T) {
	a, b := errors.New("a"), errors.New("b")
	if got := First(nil, a, b); got != a {
		t.Errorf("First = %v, want the first error", got)
	}
	if got := First(nil, nil); got != nil {
		t.Errorf("First without errors = %v", got)
	}
}
