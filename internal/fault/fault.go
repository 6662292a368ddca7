// Package fault is the one error type of Rollcall's own packages: a failure that a caller can act on.
//
// The domain says what kind of failure it is and to what noun it happened; the edge (api/*) translates
// the pair into the error of its protocol. Any other error reaches a client as an internal failure
// without detail, and the log with it.
package fault

import (
	"errors"
	"fmt"
)

// Kind says what a caller can do about a failure.
type Kind int

// The kinds. Each API has one table from kind and noun to its own error codes.
const (
	Internal    Kind = iota // nothing; it is ours to mend
	Invalid                 // correct the request
	NotFound                // name another thing
	Exists                  // choose another name, or use what is there
	InUse                   // empty or release the thing first
	Duplicate               // the same request is known under another id
	Denied                  // ask for other rights
	Limit                   // stay below the limit
	NotActive               // the thing is being deleted, or is gone
	Unavailable             // try again: the store cannot be written just now
)

var kindNames = [...]string{"internal", "invalid", "not found", "exists", "in use", "duplicate", "denied", "limit", "not active", "unavailable"}

// String names the kind for logs.
func (k Kind) String() string { return kindNames[k] }

// Error is a failure a client can act on. Kind and What choose the wire error at the edge, Msg is sent,
// Fields carry what some wire errors add (the id of the thing that exists already), Err is only logged.
type Error struct {
	Kind   Kind
	What   string // the noun: "namespace", "service", "task definition"
	Msg    string
	Fields map[string]string
	Err    error
}

// New makes an Error; msg is formatted with args.
func New(kind Kind, what, msg string, args ...any) *Error {
	return &Error{Kind: kind, What: what, Msg: fmt.Sprintf(msg, args...)}
}

// With adds a field that the wire error carries beside its message.
func (e *Error) With(key, value string) *Error {
	if e.Fields == nil {
		e.Fields = map[string]string{}
	}
	e.Fields[key] = value
	return e
}

// Error is what the log shows.
func (e *Error) Error() string {
	s := e.Msg
	if e.What != "" {
		s = e.What + ": " + s
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether err is, or wraps, an Error of this kind.
func Is(err error, kind Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == kind
}
