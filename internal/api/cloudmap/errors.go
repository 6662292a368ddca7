package cloudmap

import (
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/bakingclouds/rollcall/internal/fault"
)

// failure is what chooses the wire error: what happened, to what.
type failure struct {
	kind fault.Kind
	what string
}

// wireErrors has a row for each modelled error that the domain can give. Extra members come from the
// fault's fields, which are named as the members are.
var wireErrors = map[failure]func(f *fault.Error) error{
	{fault.Invalid, "input"}:   func(f *fault.Error) error { return &types.InvalidInput{Message: &f.Msg} },
	{fault.Invalid, "request"}: func(f *fault.Error) error { return &types.InvalidInput{Message: &f.Msg} },
	{fault.NotFound, "namespace"}: func(f *fault.Error) error {
		return &types.NamespaceNotFound{Message: &f.Msg}
	},
	{fault.NotFound, "service"}:   func(f *fault.Error) error { return &types.ServiceNotFound{Message: &f.Msg} },
	{fault.NotFound, "instance"}:  func(f *fault.Error) error { return &types.InstanceNotFound{Message: &f.Msg} },
	{fault.NotFound, "operation"}: func(f *fault.Error) error { return &types.OperationNotFound{Message: &f.Msg} },
	{fault.NotFound, "custom health"}: func(f *fault.Error) error {
		return &types.CustomHealthNotFound{Message: &f.Msg}
	},
	{fault.NotFound, "resource"}: func(f *fault.Error) error {
		return &types.ResourceNotFoundException{Message: &f.Msg}
	},
	{fault.Exists, "namespace"}: func(f *fault.Error) error {
		return &types.NamespaceAlreadyExists{Message: &f.Msg,
			NamespaceId: given(f.Fields["NamespaceId"]), CreatorRequestId: given(f.Fields["CreatorRequestId"])}
	},
	{fault.Exists, "service"}: func(f *fault.Error) error {
		return &types.ServiceAlreadyExists{Message: &f.Msg, ServiceId: given(f.Fields["ServiceId"]),
			ServiceArn: given(f.Fields["ServiceArn"]), CreatorRequestId: given(f.Fields["CreatorRequestId"])}
	},
	{fault.Duplicate, "request"}: func(f *fault.Error) error {
		return &types.DuplicateRequest{Message: &f.Msg, DuplicateOperationId: given(f.Fields["DuplicateOperationId"])}
	},
	{fault.InUse, "namespace"}: func(f *fault.Error) error { return &types.ResourceInUse{Message: &f.Msg} },
	{fault.InUse, "service"}:   func(f *fault.Error) error { return &types.ResourceInUse{Message: &f.Msg} },
	{fault.Limit, "tags"}: func(f *fault.Error) error {
		return &types.TooManyTagsException{Message: &f.Msg, ResourceName: given(f.Fields["ResourceName"])}
	},
	{fault.Limit, "service attributes"}: func(f *fault.Error) error {
		return &types.ServiceAttributesLimitExceededException{Message: &f.Msg}
	},
}

// wireError is the SDK's error for one of the domain, nil when the API has no name for it.
func wireError(err error) error {
	var f *fault.Error
	if !errors.As(err, &f) {
		return nil
	}
	if make, ok := wireErrors[failure{f.Kind, f.What}]; ok {
		return make(f)
	}
	return nil
}

// invalid is a request that breaks a rule of the API rather than of the domain.
func invalid(msg string, args ...any) error { return fault.New(fault.Invalid, "input", msg, args...) }
