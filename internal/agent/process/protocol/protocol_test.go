package protocol

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// TestError checks that the kind of an error survives the connection, and that an unknown kind is internal.
func TestError(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  *Error
		kind fault.Kind
		want string
	}{
		{"fault", ErrorOf(fault.New(fault.NotFound, "task", "no such task")), fault.NotFound, "no such task"},
		{"fault with a cause", ErrorOf(&fault.Error{Kind: fault.Invalid, Msg: "start", Err: errors.New("no file")}),
			fault.Invalid, "start: no file"},
		{"other error", ErrorOf(errors.New("disk full")), fault.Internal, "disk full"},
		{"unknown kind", &Error{Kind: "kind of a newer build", Msg: "message"}, fault.Internal, "message"},
	} {
		var f *fault.Error
		if err := tc.err.Fault(); !errors.As(err, &f) || f.Kind != tc.kind || f.Msg != tc.want {
			t.Errorf("%s: %v, want %v: %s", tc.name, err, tc.kind, tc.want)
		}
	}
}

// TestWireFormat pins the JSON that a supervisor of an earlier build sends and expects.
func TestWireFormat(t *testing.T) {
	for _, tc := range []struct {
		frame any
		want  string
	}{
		{Frame{Hello: &Hello{Version: 1, PID: 7}}, `{"hello":{"version":1,"pid":7}}`},
		{Frame{ID: 1, Call: CallList, Args: json.RawMessage(`{}`)}, `{"id":1,"call":"list","args":{}}`},
		{Frame{ID: 1, Error: &Error{Kind: "invalid", Msg: "m"}}, `{"id":1,"error":{"kind":"invalid","msg":"m"}}`},
		{StopArgs{TaskID: "t", Container: "c", Timeout: 5}, `{"TaskID":"t","Container":"c","Timeout":5}`},
		{ExecResult{Code: 1, TimedOut: true, Output: "o"}, `{"Code":1,"TimedOut":true,"Output":"o"}`},
		{HealthArgs{TaskID: "t", Container: "c", Health: agent.HealthHealthy},
			`{"TaskID":"t","Container":"c","Health":"HEALTHY","Output":""}`},
	} {
		if got, err := json.Marshal(tc.frame); err != nil || string(got) != tc.want {
			t.Errorf("%T: %s, %v; want %s", tc.frame, got, err, tc.want)
		}
	}
}
