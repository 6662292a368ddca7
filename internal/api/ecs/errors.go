package ecs

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/fault"
)

// wireErrors is the one table from the domain's failures to ECS's.
var wireErrors = map[failure]func(msg *string) error{
	{fault.NotFound, "cluster"}:            func(m *string) error { return &types.ClusterNotFoundException{Message: m} },
	{fault.InUse, "services"}:              func(m *string) error { return &types.ClusterContainsServicesException{Message: m} },
	{fault.InUse, "tasks"}:                 func(m *string) error { return &types.ClusterContainsTasksException{Message: m} },
	{fault.InUse, "association"}:           func(m *string) error { return &types.ResourceInUseException{Message: m} },
	{fault.InUse, "capacity provider"}:     func(m *string) error { return &types.ClientException{Message: m} },
	{fault.NotFound, "task definition"}:    func(m *string) error { return &types.ClientException{Message: m} },
	{fault.NotFound, "service"}:            func(m *string) error { return &types.ServiceNotFoundException{Message: m} },
	{fault.NotActive, "service"}:           func(m *string) error { return &types.ServiceNotActiveException{Message: m} },
	{fault.Exists, "service"}:              func(m *string) error { return &types.InvalidParameterException{Message: m} },
	{fault.Invalid, "service"}:             func(m *string) error { return &types.InvalidParameterException{Message: m} },
	{fault.NotFound, "task"}:               func(m *string) error { return &types.InvalidParameterException{Message: m} },
	{fault.Limit, "tags"}:                  func(m *string) error { return &types.LimitExceededException{Message: m} },
	{fault.NotFound, "service deployment"}: func(m *string) error { return &types.ServiceDeploymentNotFoundException{Message: m} },
	{fault.InUse, "service deployment"}:    func(m *string) error { return &types.ConflictException{Message: m} },
	{fault.Invalid, "service deployment"}:  func(m *string) error { return &types.InvalidParameterException{Message: m} },
	{fault.Limit, "attributes"}:            func(m *string) error { return &types.AttributeLimitExceededException{Message: m} },
}

type failure struct {
	kind fault.Kind
	what string
}

// wireError translates an error of the domain; nil means that ECS has no name for it.
func wireError(err error) error {
	var f *fault.Error
	if !errors.As(err, &f) {
		return nil
	}
	if make, ok := wireErrors[failure{f.Kind, f.What}]; ok {
		return make(&f.Msg)
	}
	return nil
}

// invalid is a bad or inconsistent parameter.
func invalid(format string, args ...any) error {
	msg := fmt.Sprintf(format, args...)
	return &types.InvalidParameterException{Message: &msg}
}

// clientError is a mistake in a task definition.
func clientError(format string, args ...any) error {
	msg := fmt.Sprintf(format, args...)
	return &types.ClientException{Message: &msg}
}

// unsupported is something of ECS that Rollcall does not do.
func unsupported(format string, args ...any) error {
	msg := fmt.Sprintf(format, args...)
	return &types.UnsupportedFeatureException{Message: &msg}
}

// oneOf refuses a value that is none of an enumeration's; "" is absent.
func oneOf[E ~string](what string, v E, values []E) error {
	if v == "" || slices.Contains(values, v) {
		return nil
	}
	names := make([]string, len(values))
	for i, v := range values {
		names[i] = string(v)
	}
	return invalid("%s should be one of [%s]", what, strings.Join(names, ","))
}

// first returns the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// notConnected is a session that cannot be had.
func notConnected(format string, args ...any) error {
	msg := fmt.Sprintf(format, args...)
	return &types.TargetNotConnectedException{Message: &msg}
}
