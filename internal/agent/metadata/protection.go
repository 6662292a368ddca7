package metadata

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// protectionState is a task's protection as the endpoint shows it.
type protectionState struct {
	ExpirationDate    *time.Time `json:"ExpirationDate,omitempty"`
	ProtectionEnabled bool
	TaskArn           string
}

// protectionAnswer has one of its members, beside the id of a request that reached the domain.
type protectionAnswer struct {
	RequestID  string             `json:"requestID,omitempty"`
	Protection *protectionState   `json:"protection,omitempty"`
	Failure    *protectionFailure `json:"failure,omitempty"`
	Error      *protectionError   `json:"error,omitempty"`
}

type protectionFailure struct{ Arn, Reason, Detail string }

type protectionError struct{ Arn, Code, Message string }

// protection tells a container whether its task is protected.
func (e *Endpoint) protection(w http.ResponseWriter, r *http.Request) {
	v, ok := e.asks(w, r)
	if !ok {
		return
	}
	t, err := task.Protectable(v.r, v.task.Ref())
	v.protected(w, t, err)
}

// protectionRequest is the body of a PUT.
type protectionRequest struct {
	ProtectionEnabled *bool
	ExpiresInMinutes  *int64
}

// protect sets or ends the protection of the task that asks.
func (e *Endpoint) protect(w http.ResponseWriter, r *http.Request) {
	v, ok := e.asks(w, r)
	if !ok {
		return
	}
	d, problem := readProtection(http.MaxBytesReader(w, r.Body, maxBody))
	if problem != "" {
		answer(w, http.StatusBadRequest, protectionAnswer{Error: &protectionError{v.task.ARN(), "InvalidParameterException", problem}})
		return
	}
	t, err := store.Update(r.Context(), e.DB, func(tx *store.Tx) (*task.Task, error) {
		return task.Protect(tx, v.task.Ref(), d, time.Now())
	})
	v.protected(w, t, err)
}

// readProtection reads for how long to protect, 0 for not at all; or what is wrong with the request.
func readProtection(body io.Reader) (d time.Duration, problem string) {
	var in protectionRequest
	decoder := json.NewDecoder(body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&in); err != nil {
		return 0, "UpdateTaskProtection: failed to decode request"
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return 0, "UpdateTaskProtection: failed to decode request"
	}
	switch {
	case in.ProtectionEnabled == nil:
		return 0, "Invalid request: does not contain 'ProtectionEnabled' field"
	case !*in.ProtectionEnabled:
		return 0, ""
	case in.ExpiresInMinutes == nil:
		return task.DefaultProtection, ""
	}
	minutes := *in.ExpiresInMinutes
	if minutes < int64(task.MinProtection/time.Minute) || minutes > int64(task.MaxProtection/time.Minute) {
		return 0, "Invalid request: expiration duration must be between 1 and 2880 minutes"
	}
	return time.Duration(minutes) * time.Minute, ""
}

// protected answers with a task's protection, or with why it has none.
func (v *view) protected(w http.ResponseWriter, t *task.Task, err error) {
	var f *fault.Error
	arn := v.task.ARN()
	switch reason := task.ProtectionFailure(err); {
	case err == nil:
		state := &protectionState{TaskArn: arn, ProtectionEnabled: t.Protected(time.Now())}
		if state.ProtectionEnabled {
			until := t.ProtectedUntil.UTC()
			state.ExpirationDate = &until
		}
		answer(w, http.StatusOK, protectionAnswer{Protection: state})
	case reason != "" && errors.As(err, &f):
		answer(w, http.StatusOK, protectionAnswer{Failure: &protectionFailure{arn, reason, f.Msg}})
	case fault.Is(err, fault.Unavailable):
		answer(w, http.StatusServiceUnavailable, protectionAnswer{Error: &protectionError{arn, "ServerException", "The store cannot be written just now; try again."}})
	default:
		v.Log.Error("a task's protection cannot be changed", "task", v.task.ID, "err", err)
		answer(w, http.StatusInternalServerError, protectionAnswer{Error: &protectionError{arn, "ServerException", "The server failed; its log says why."}})
	}
}
