package awsapi_test

import (
	"context"
	"testing"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// note is a row of the tests in this file.
type note struct{ Text string }

var notes = store.NewTable[note]("note", "note/")

// TestUpdateSharesResults checks that after a commit of unknown outcome, only a call with the same access key and the
// same invocation id receives the first attempt's result. All other calls run.
func TestUpdateSharesResults(t *testing.T) {
	type update func(ctx context.Context, db *store.Store, fn func(*store.Tx) (string, error)) (string, error)
	updates := map[string]update{
		"Update": awsapi.Update[string],
		"UpdateSerialized": func(ctx context.Context, db *store.Store, fn func(*store.Tx) (string, error)) (string,
			error) {
			return awsapi.UpdateSerialized(ctx, db, "queue", fn)
		},
	}
	first := awsapi.Caller{AccessKeyID: "AKIAONE", InvocationID: "one"}
	for name, update := range updates {
		for _, tc := range []struct {
			name   string
			first  awsapi.Caller
			second awsapi.Caller
			shares bool
		}{
			{"same caller and id", first, first, true},
			{"other caller, same id", first, awsapi.Caller{AccessKeyID: "AKIATWO", InvocationID: "one"}, false},
			{"same caller, other id", first, awsapi.Caller{AccessKeyID: "AKIAONE", InvocationID: "two"}, false},
			{"no ids", awsapi.Caller{AccessKeyID: "AKIAONE"}, awsapi.Caller{AccessKeyID: "AKIAONE"}, false},
		} {
			t.Run(name+", "+tc.name, func(t *testing.T) {
				db, loseNext := apitest.OpenLossy(t, notes)
				call := func(c awsapi.Caller, result string) (string, error) {
					return update(awsapi.WithCaller(t.Context(), c), db, func(tx *store.Tx) (string, error) {
						notes.Put(tx, result, &note{Text: result})
						return result, nil
					})
				}
				loseNext()
				if _, err := call(tc.first, "first"); !fault.Is(err, fault.Unavailable) {
					t.Fatalf("first call: %v, want Unavailable", err)
				}
				want := "second"
				if tc.shares {
					want = "first"
				}
				if got := apitest.Must(call(tc.second, "second"))(t); got != want {
					t.Errorf("second call returned %q, want %q", got, want)
				}
			})
		}
	}
}
