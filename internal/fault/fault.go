// Package fault defines the error type of the packages that store rows: an error that the client of an API can act on.
//
// These packages set the kind of an error and the noun of the resource. Each package under api/ has a table that maps
// both to an error of its protocol. A client receives any other error as an internal failure without details; the
// details are logged.
package fault

import (
	"errors"
	"fmt"
)

// Kind classifies errors by the action that the client can take.
type Kind int

// The kinds, each with the action of the client.
const (
	Internal    Kind = iota // none: the server has a defect
	Invalid                 // correct the request
	NotFound                // use the name of an existing resource
	Exists                  // choose another name, or use the existing resource
	InUse                   // empty or release the resource first
	Duplicate               // use the result of the earlier request with the same id
	Denied                  // request more permissions
	Limit                   // stay below the limit
	NotActive               // use a resource that is not being deleted
	Unavailable             // try again: the store cannot be written at the moment
)

var kindNames = [...]string{"internal", "invalid", "not found", "exists", "in use", "duplicate", "denied", "limit",
	"not active", "unavailable"}

// String returns the name of the kind for logs.
func (k Kind) String() string { return kindNames[k] }

// Error is an error that a client can act on. Kind and What select the error of the protocol, Msg is sent to the
// client, and Err is only logged. Fields are further members of the protocol's error, such as the id of an existing
// resource.
type Error struct {
	Kind   Kind
	What   string // the noun: "namespace", "service", "task definition"
	Msg    string
	Fields map[string]string
	Err    error
}

// New returns an Error. It formats msg with args.
func New(kind Kind, what, msg string, args ...any) *Error {
	return &Error{Kind: kind, What: what, Msg: fmt.Sprintf(msg, args...)}
}

// With adds a member to the protocol's error and returns e.
func (e *Error) With(key, value string) *Error {
	if e.Fields == nil {
		e.Fields = map[string]string{}
	}
	e.Fields[key] = value
	return e
}

// Error returns the text for logs: the noun, the message and the cause.
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

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether err is, or wraps, an Error of this kind.
func Is(err error, kind Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == kind
}
