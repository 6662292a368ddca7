// Package ecserr has the errors that ECS returns: constructors for those that the API's own rules return, and the
// table that translates the errors of the domain (package fault).
package ecserr

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// Table is the table from the domain's faults to the exceptions of ECS.
var Table = awsapi.Errors{
	fault.Invalid: {
		"service":            func(f *fault.Error) error { return &types.InvalidParameterException{Message: &f.Msg} },
		"service deployment": func(f *fault.Error) error { return &types.InvalidParameterException{Message: &f.Msg} },
		"request":            func(f *fault.Error) error { return &types.InvalidParameterException{Message: &f.Msg} },
	},
	fault.NotFound: {
		"cluster":            func(f *fault.Error) error { return &types.ClusterNotFoundException{Message: &f.Msg} },
		"task definition":    func(f *fault.Error) error { return &types.ClientException{Message: &f.Msg} },
		"service":            func(f *fault.Error) error { return &types.ServiceNotFoundException{Message: &f.Msg} },
		"task":               func(f *fault.Error) error { return &types.InvalidParameterException{Message: &f.Msg} },
		"service deployment": func(f *fault.Error) error { return &types.ServiceDeploymentNotFoundException{Message: &f.Msg} },
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

// Invalid is a bad or inconsistent parameter.
func Invalid(format string, args ...any) error {
	msg := fmt.Sprintf(format, args...)
	return &types.InvalidParameterException{Message: &msg}
}

// Client is a mistake in a task definition.
func Client(format string, args ...any) error {
	msg := fmt.Sprintf(format, args...)
	return &types.ClientException{Message: &msg}
}

// Unsupported is something of ECS that Rollcall does not do.
func Unsupported(format string, args ...any) error {
	msg := fmt.Sprintf(format, args...)
	return &types.UnsupportedFeatureException{Message: &msg}
}

// OneOf refuses a value that is none of an enumeration's; "" is absent.
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

// First returns the first error.
func First(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// NotConnected is a session that cannot be had.
func NotConnected(format string, args ...any) error {
	msg := fmt.Sprintf(format, args...)
	return &types.TargetNotConnectedException{Message: &msg}
}
