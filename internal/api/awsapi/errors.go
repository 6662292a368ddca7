package awsapi

import (
	"errors"
	"net/http"
	"reflect"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/bakingclouds/rollcall/internal/fault"
)

// Error is an error of the protocol rather than of one API: an invalid signature, an unknown operation, a body that is
// not JSON. For the errors that an API models, use the SDK's own types (types.ServiceNotFound).
type Error struct {
	Code    string
	Message string
	Status  int // HTTP status; 0 means 400
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// ErrorCode returns the code that SDKs compare.
func (e *Error) ErrorCode() string { return e.Code }

// ErrorMessage returns the text for the user.
func (e *Error) ErrorMessage() string { return e.Message }

// ErrorFault reports whether the client or the server is at fault.
func (e *Error) ErrorFault() smithy.ErrorFault {
	if e.Status >= 500 {
		return smithy.FaultServer
	}
	return smithy.FaultClient
}

// HTTPStatus returns the status of the response to an error: the status of an [*Error] that has one, 503 for
// ServiceUnavailable, 500 for other server faults, and 400 otherwise. These protocols do not use 404 or 409.
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

// internalFailure is the response to an error that no API translates.
var internalFailure = &Error{
	Code:    "InternalFailure",
	Message: "The request failed because of an error in the server; its log names this request id.",
	Status:  http.StatusInternalServerError,
}

// translate returns the wire form of an error. known reports whether there is one; any other error must be logged.
// fault.Unavailable, a store that cannot be written now, is ServiceUnavailable in all APIs, because all SDKs retry a
// 503.
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

// Errors is an API's table from the faults of the domain to the errors of the API, most of which are types of the SDK.
// Its keys are the kind of a fault and its noun ([fault.Error.What]). The row for the noun "" applies to all nouns
// without a row.
type Errors map[fault.Kind]map[string]func(*fault.Error) error

// Translate returns the table's error for err, or nil if err is not a [fault.Error] or the table has no row for it. Use
// it as [Service.ErrorOf].
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

// appendError writes {"__type":CODE,"Message":TEXT,"message":TEXT} and the members that the error's type adds
// (types.NamespaceAlreadyExists has a NamespaceId). The message comes in both cases, because APIs differ and older SDKs
// accept only one.
func appendError(dst []byte, n Naming, err smithy.APIError) []byte {
	dst = AppendString(append(dst, `{"__type":`...), err.ErrorCode())
	dst = AppendString(append(dst, `,"Message":`...), err.ErrorMessage())
	dst = AppendString(append(dst, `,"message":`...), err.ErrorMessage())
	if v := reflect.ValueOf(err); v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct &&
		!isProtocolError(err) {
		body := codecOf(v.Type().Elem(), n).append(nil, v.Elem())
		if members := body[1 : len(body)-1]; len(members) > 0 {
			dst = append(append(dst, ','), members...)
		}
	}
	return append(dst, '}')
}

// isProtocolError reports whether the fields of an error are not members of a shape: in [Error] and in smithy's general
// error.
func isProtocolError(err smithy.APIError) bool {
	switch err.(type) {
	case *Error, *smithy.GenericAPIError:
		return true
	}
	return false
}
