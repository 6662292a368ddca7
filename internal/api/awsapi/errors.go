package awsapi

import (
	"errors"
	"net/http"
	"reflect"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/bakingclouds/rollcall/internal/fault"
)

// Error is an error of the protocol rather than of one API: a bad signature, an unknown operation, a body
// that is not JSON. The errors that an API models are the SDK's own types (types.ServiceNotFound).
type Error struct {
	Code    string
	Message string
	Status  int // HTTP status; 0 is 400
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// ErrorCode is the code that SDKs compare.
func (e *Error) ErrorCode() string { return e.Code }

// ErrorMessage is the text for people.
func (e *Error) ErrorMessage() string { return e.Message }

// ErrorFault says whose fault it is.
func (e *Error) ErrorFault() smithy.ErrorFault {
	if e.Status >= 500 {
		return smithy.FaultServer
	}
	return smithy.FaultClient
}

// HTTPStatus is the status an error is answered with: its own if it is an [*Error] that has one, 503 for
// ServiceUnavailable, 500 for other faults of the server and 400 for the rest; these protocols have no
// 404 or 409.
func HTTPStatus(err smithy.APIError) int {
	if e, ok := err.(*Error); ok && e.Status != 0 {
		return e.Status
	}
	switch {
	case strings.HasPrefix(err.ErrorCode(), "ServiceUnavailable"):
		return http.StatusServiceUnavailable
	case err.ErrorFault() == smithy.FaultServer:
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

// internalFailure is all that a client learns of an error that nobody translated.
var internalFailure = &Error{
	Code:    "InternalFailure",
	Message: "The request failed because of an error in the server; its log names this request id.",
	Status:  http.StatusInternalServerError,
}

// translate gives the wire form of an error; known is false if it has none and must be logged. A store
// that cannot be written just now is ServiceUnavailable in every API, since all SDKs retry a 503.
func translate(err error, errorOf func(error) error) (wire smithy.APIError, known bool) {
	if errors.As(err, &wire) {
		return wire, true
	}
	var f *fault.Error
	if errors.As(err, &f) && f.Kind == fault.Unavailable {
		return &Error{Code: "ServiceUnavailable", Message: f.Msg, Status: http.StatusServiceUnavailable}, true
	}
	if errorOf != nil {
		if named := errorOf(err); named != nil && errors.As(named, &wire) {
			return wire, true
		}
	}
	return internalFailure, false
}

// Errors is an API's table from the faults of the domain to the errors that the API's clients know, most of them
// the SDK's own types. A row is found by what happened and to which noun ([fault.Error.What]). The row of the empty
// noun is for all nouns that have no row.
type Errors map[fault.Kind]map[string]func(*fault.Error) error

// Translate returns the table's error for err, or nil if err is not a [fault.Error] or the table has no row for it.
// It has the form of [Service.ErrorOf].
func (e Errors) Translate(err error) error {
	var f *fault.Error
	if !errors.As(err, &f) {
		return nil
	}
	row, ok := e[f.Kind][f.What]
	if !ok {
		row, ok = e[f.Kind][""]
	}
	if !ok {
		return nil
	}
	return row(f)
}

// appendError writes {"__type":CODE,"Message":TEXT,"message":TEXT} and the members that the error's type
// adds (types.NamespaceAlreadyExists has a NamespaceId). The message comes in both spellings, since the
// APIs differ and older SDKs know only one.
func appendError(dst []byte, n Naming, err smithy.APIError) []byte {
	dst = AppendString(append(dst, `{"__type":`...), err.ErrorCode())
	dst = AppendString(append(dst, `,"Message":`...), err.ErrorMessage())
	dst = AppendString(append(dst, `,"message":`...), err.ErrorMessage())
	if v := reflect.ValueOf(err); v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct && !isProtocolError(err) {
		body := codecOf(v.Type().Elem(), n).append(nil, v.Elem())
		if members := body[1 : len(body)-1]; len(members) > 0 {
			dst = append(append(dst, ','), members...)
		}
	}
	return append(dst, '}')
}

// isProtocolError tells errors whose fields are not members: our own, and smithy's general one.
func isProtocolError(err smithy.APIError) bool {
	switch err.(type) {
	case *Error, *smithy.GenericAPIError:
		return true
	}
	return false
}
