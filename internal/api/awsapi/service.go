package awsapi

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	"github.com/aws/smithy-go"
)

// Service is one API that speaks AWS JSON 1.1. Fill it in, register its operations with [Handle], then
// give it to [NewHandler]; it does not change afterwards.
type Service struct {
	TargetPrefix string // before the dot in X-Amz-Target: "AmazonEC2ContainerServiceV20141113"
	SigningName  string // service in the credential scope: "ecs"
	Naming       Naming
	// ErrorOf translates an error of the domain to the SDK's type for it (*types.ServiceNotFound) or to an
	// *Error. Nil means that this API has no name for it: the client gets InternalFailure, the log the rest.
	// It is not asked about errors that are such already, nor about fault.Unavailable.
	ErrorOf func(error) error

	operations map[string]operation
}

// operation decodes a body, calls the function behind one operation and appends its encoded output.
type operation func(ctx context.Context, body, dst []byte) ([]byte, error)

// Handle adds an operation to s. Its name is that of the type I without "Input". A nil output is {}.
//
// It is for the wiring of a program and panics if the name has no such form or is taken, or if a type has
// members with no form on the wire.
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

// Scope is the service that a request's credential scope must name.
func (s *Service) Scope() string { return s.SigningName }

// ContentType is that of every answer.
func (s *Service) ContentType() string { return "application/x-amz-json-1.1" }

// Operation returns the operation that X-Amz-Target names.
func (s *Service) Operation(r *http.Request, _ []byte) (string, error) {
	prefix, name, _ := strings.Cut(r.Header.Get(targetHeader), ".")
	if _, known := s.operations[name]; r.Method != http.MethodPost || prefix != s.TargetPrefix || !known {
		return "", unknownOperation(r)
	}
	return name, nil
}

// Call runs an operation that Operation has returned.
func (s *Service) Call(ctx context.Context, name string, body, dst []byte) ([]byte, error) {
	return s.operations[name](ctx, body, dst)
}

// Translate applies ErrorOf.
func (s *Service) Translate(err error) error {
	if s.ErrorOf == nil {
		return nil
	}
	return s.ErrorOf(err)
}

// AppendError renders err in this API's spelling.
func (s *Service) AppendError(dst []byte, err smithy.APIError, _ string) ([]byte, int) {
	return appendError(dst, s.Naming, err), HTTPStatus(err)
}

// unknownOperation is also the answer to a request that names no API at all.
func unknownOperation(r *http.Request) error {
	return &Error{Code: "UnknownOperationException", Message: fmt.Sprintf(
		"%s with X-Amz-Target %.100q is no operation that is served here.", r.Method, r.Header.Get(targetHeader))}
}
