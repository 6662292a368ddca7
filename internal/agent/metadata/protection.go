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

// protectionState is a task's protection in a reply.
type protectionState struct {
	ExpirationDate    *time.Time `json:"ExpirationDate,omitempty"`
	ProtectionEnabled bool
	TaskArn           string
}

// protectionReply has exactly one of Protection, Failure and Error.
type protectionReply struct {
	RequestID  string             `json:"requestID,omitempty"`
	Protection *protectionState   `json:"protection,omitempty"`
	Failure    *protectionFailure `json:"failure,omitempty"`
	Error      *protectionError   `json:"error,omitempty"`
}

type protectionFailure struct{ Arn, Reason, Detail string }

type protectionError struct{ Arn, Code, Message string }

// getProtection replies with the protection of the task that sent the request.
func (e *Endpoint) getProtection(w http.ResponseWriter, r *http.Request) {
	v, ok := e.containerView(w, r)
	if !ok {
		return
	}
	t, err := task.Protectable(v.r, v.task.Ref())
	v.replyProtection(w, t, err)
}

// protectionRequest is the body of a PUT.
type protectionRequest struct {
	ProtectionEnabled *bool
	ExpiresInMinutes  *int64
}

// putProtection sets or ends the protection of the task that sent the request.
func (e *Endpoint) putProtection(w http.ResponseWriter, r *http.Request) {
	v, ok := e.containerView(w, r)
	if !ok {
		return
	}
	d, problem := parseProtection(http.MaxBytesReader(w, r.Body, maxBody))
	if problem != "" {
		v.replyProtectionError(w, http.StatusBadRequest, "InvalidParameterException", problem)
		return
	}
	now := time.Now()
	t, err := store.Update(r.Context(), e.DB, func(tx *store.Tx) (*task.Task, error) {
		return task.Protect(tx, v.task.Ref(), d, now)
	})
	v.replyProtection(w, t, err)
}

// parseProtection returns the time for which the request protects the task, 0 to end protection, or a problem of the
// request.
func parseProtection(body io.Reader) (d time.Duration, problem string) {
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

// replyProtection replies with a task's protection, or with the reason of err.
func (v *view) replyProtection(w http.ResponseWriter, t *task.Task, err error) {
	var f *fault.Error
	arn := v.task.ARN()
	switch reason := task.ProtectionFailure(err); {
	case err == nil:
		state := &protectionState{TaskArn: arn, ProtectionEnabled: t.Protected(time.Now())}
		if state.ProtectionEnabled {
			until := t.ProtectedUntil.UTC()
			state.ExpirationDate = &until
		}
		reply(w, http.StatusOK, protectionReply{Protection: state})
	case reason != "" && errors.As(err, &f):
		reply(w, http.StatusOK, protectionReply{Failure: &protectionFailure{arn, reason, f.Msg}})
	case fault.Is(err, fault.Unavailable):
		v.replyProtectionError(w, http.StatusServiceUnavailable, "ServerException", "The store is unavailable; try again.")
	default:
		v.Log.Error("cannot change a task's protection", "task", v.task.ID, "err", err)
		v.replyProtectionError(w, http.StatusInternalServerError, "ServerException", "Internal error; see the server's log.")
	}
}

func (v *view) replyProtectionError(w http.ResponseWriter, status int, code, message string) {
	reply(w, status, protectionReply{Error: &protectionError{v.task.ARN(), code, message}})
}
