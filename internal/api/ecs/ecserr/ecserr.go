// Package ecserr defines the errors that ECS returns to its clients.
//
// The rules of the API call the constructors: most rules reject a request with Invalid, those of task definitions with
// Client, and features that Rollcall does not have with Unsupported. [Table] translates the errors of the domain
// (package fault). The texts are those of AWS wherever AWS has one.
package ecserr

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// Table translates the errors of the domain to the exceptions of ECS.
var Table = awsapi.Errors{
	fault.Invalid: {
		"service":            func(f *fault.Error) error { return &types.InvalidParameterException{Message: &f.Msg} },
		"service deployment": func(f *fault.Error) error { return &types.InvalidParameterException{Message: &f.Msg} },
		"request":            func(f *fault.Error) error { return &types.InvalidParameterException{Message: &f.Msg} },
	},
	fault.NotFound: {
		"cluster":         func(f *fault.Error) error { return &types.ClusterNotFoundException{Message: &f.Msg} },
		"task definition": func(f *fault.Error) error { return &types.ClientException{Message: &f.Msg} },
		"service":         func(f *fault.Error) error { return &types.ServiceNotFoundException{Message: &f.Msg} },
		"task":            func(f *fault.Error) error { return &types.InvalidParameterException{Message: &f.Msg} },
		"service deployment": func(f *fault.Error) error {
			return &types.ServiceDeploymentNotFoundException{Message: &f.Msg}
		},
	},
	fault.Exists: {
		"service": func(f *fault.Error) error { return &types.InvalidParameterException{Message: &f.Msg} },
	},
	fault.InUse: {
		"services":           func(f *fault.Error) error { return &types.ClusterContainsServicesException{Message: &f.Msg} },
		"tasks":              func(f *fault.Error) error { return &types.ClusterContainsTasksException{Message: &f.Msg} },
		"association":        func(f *fault.Error) error { return &types.ResourceInUseException{Message: &f.Msg} },
		"capacity provider":  func(f *fault.Error) error { return &types.ClientException{Message: &f.Msg} },
		"service deployment": func(f *fault.Error) error { return &types.ConflictException{Message: &f.Msg} },
	},
	fault.NotActive: {
		"service": func(f *fault.Error) error { return &types.ServiceNotActiveException{Message: &f.Msg} },
	},
	fault.Limit: {
		"tags":       func(f *fault.Error) error { return &types.LimitExceededException{Message: &f.Msg} },
		"attributes": func(f *fault.Error) error { return &types.AttributeLimitExceededException{Message: &f.Msg} },
	},
}

// Invalid returns an InvalidParameterException: a parameter is invalid or contradicts another one.
func Invalid(format string, args ...any) error {
	msg := fmt.Sprintf(format, args...)
	return &types.InvalidParameterException{Message: &msg}
}

// Client returns a ClientException, which ECS uses for mistakes in task definitions.
func Client(format string, args ...any) error {
	msg := fmt.Sprintf(format, args...)
	return &types.ClientException{Message: &msg}
}

// Unsupported returns an UnsupportedFeatureException: the request needs a feature that Rollcall does not have.
func Unsupported(format string, args ...any) error {
	msg := fmt.Sprintf(format, args...)
	return &types.UnsupportedFeatureException{Message: &msg}
}

// NotConnected returns a TargetNotConnectedException: no session can be opened to a container.
func NotConnected(format string, args ...any) error {
	msg := fmt.Sprintf(format, args...)
	return &types.TargetNotConnectedException{Message: &msg}
}

// OneOf rejects a value that is not one of values. It accepts the empty string, which means that the member is absent.
func OneOf[E ~string](what string, v E, values []E) error {
	if v == "" || slices.Contains(values, v) {
		return nil
	}
	names := make([]string, len(values))
	for i, v := range values {
		names[i] = string(v)
	}
	return Invalid("%s should be one of [%s]", what, strings.Join(names, ","))
}

// RequireOneOf is [OneOf] for a member that must not be absent.
func RequireOneOf[E ~string](what string, v E, values []E) error {
	return OneOf(what, cmp.Or(v, "null"), values)
}

// First returns the first error that is not nil.
func First(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
