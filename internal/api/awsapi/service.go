package awsapi

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	"github.com/aws/smithy-go"
)

// Service is one API that speaks AWS JSON 1.1. Fill in its fields, register its operations with [Handle], then pass it
// to [NewHandler]. It must not change afterwards.
type Service struct {
	TargetPrefix string // the part of X-Amz-Target before the dot: "AmazonEC2ContainerServiceV20141113"
	SigningName  string // the service in the credential scope: "ecs"
	Naming       Naming
	// ErrorOf translates an error of the domain to the SDK's type for it (*types.ServiceNotFound) or to an *Error. It
	// returns nil if the API has no such error; the client then receives InternalFailure, and the error is logged. It
	// is not called for errors that already have a form on the wire, nor for fault.Unavailable.
	ErrorOf func(error) error

	operations map[string]operation
}

// operation decodes a body, calls the function of one operation, and appends its encoded output to dst.
type operation func(ctx context.Context, body, dst []byte) ([]byte, error)

// Handle adds an operation to s. Its name is that of the type I without "Input". A nil output is encoded as {}.
//
// Handle is called while the program starts. It panics if the name of I does not end in "Input", if the operation is
// already handled, or if a type has members without a form on the wire.
func Handle[I, O any](s *Service, fn func(context.Context, *I) (*O, error)) {
	in, out := reflect.TypeFor[I](), reflect.TypeFor[O]()
	codecOf(in, s.Naming)
	codecOf(out, s.Naming)
	s.add(in, func(ctx context.Context, body, dst []byte) ([]byte, error) {
		input := new(I)
		if err := s.Naming.Decode(body, input); err != nil {
			return dst, err
		}
		output, err := fn(ctx, input)
		if err != nil {
			return dst, err
		}
		return s.Naming.Append(dst, output), nil
	})
}

func (s *Service) add(input reflect.Type, op operation) {
	name, ok := strings.CutSuffix(input.Name(), "Input")
	if !ok || name == "" {
		panic("awsapi: an operation is named by its input type, as CreateServiceInput; this is " + input.String())
	}
	if _, taken := s.operations[name]; taken {
		panic("awsapi: operation " + name + " is handled twice")
	}
	if s.operations == nil {
		s.operations = map[string]operation{}
	}
	s.operations[name] = op
}

// Scope returns the service that the credential scope of a request must name.
func (s *Service) Scope() string { return s.SigningName }

// ContentType returns the media type of all responses.
func (s *Service) ContentType() string { return "application/x-amz-json-1.1" }

// Operation returns the operation that X-Amz-Target names.
func (s *Service) Operation(r *http.Request, _ []byte) (string, error) {
	prefix, name, _ := strings.Cut(r.Header.Get(targetHeader), ".")
	if _, known := s.operations[name]; r.Method != http.MethodPost || prefix != s.TargetPrefix || !known {
		return "", unknownOperation(r)
	}
	return name, nil
}

// Call runs an operation that Operation has returned, and appends its output to dst.
func (s *Service) Call(ctx context.Context, name string, body, dst []byte) ([]byte, error) {
	return s.operations[name](ctx, body, dst)
}

// Translate calls ErrorOf.
func (s *Service) Translate(err error) error {
	if s.ErrorOf == nil {
		return nil
	}
	return s.ErrorOf(err)
}

// AppendError appends err as JSON.
func (s *Service) AppendError(dst []byte, err smithy.APIError, _ string) ([]byte, int) {
	return appendError(dst, s.Naming, err), HTTPStatus(err)
}

// unknownOperation is also the error for a request that names no API.
func unknownOperation(r *http.Request) error {
	return &Error{Code: "UnknownOperationException", Message: fmt.Sprintf(
		"%s with X-Amz-Target %.100q is not an operation of this server.", r.Method, r.Header.Get(targetHeader))}
}
