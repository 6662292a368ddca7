package awsapi

import (
	"errors"
	"fmt"
	"testing"

	"github.com/bakingclouds/rollcall/internal/fault"
)

func TestErrorsTranslate(t *testing.T) {
	row := func(code string) func(*fault.Error) error {
		return func(f *fault.Error) error { return &Error{Code: code, Message: f.Msg} }
	}
	table := Errors{
		fault.NotFound: {"cluster": row("ClusterNotFound")},
		fault.Invalid:  {"": row("InvalidInput"), "tag": row("InvalidTag")},
	}
	for _, tc := range []struct {
		name string
		err  error
		want string
	}{
		{"row of the noun", fault.New(fault.NotFound, "cluster", "gone"), "ClusterNotFound: gone"},
		{"wrapped", fmt.Errorf("call: %w", fault.New(fault.NotFound, "cluster", "gone")), "ClusterNotFound: gone"},
		{"noun without a row", fault.New(fault.NotFound, "task", "gone"), "<nil>"},
		{"kind without rows", fault.New(fault.InUse, "cluster", "busy"), "<nil>"},
		{"row for all nouns", fault.New(fault.Invalid, "name", "bad"), "InvalidInput: bad"},
		{"the noun's row before the row for all", fault.New(fault.Invalid, "tag", "bad"), "InvalidTag: bad"},
		{"no fault", errors.New("disk full"), "<nil>"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := fmt.Sprint(table.Translate(tc.err)); got != tc.want {
				t.Errorf("Translate(%v) = %s, want %s", tc.err, got, tc.want)
			}
		})
	}
}
