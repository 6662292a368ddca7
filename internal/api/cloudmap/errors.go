package cloudmap

import (
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// wireErrors has a row for each error of the model that the domain can return. Further members of an error are in the
// fault's fields under the same names.
var wireErrors = awsapi.Errors{
	fault.Invalid: {
		"input":   func(f *fault.Error) error { return &types.InvalidInput{Message: &f.Msg} },
		"request": func(f *fault.Error) error { return &types.InvalidInput{Message: &f.Msg} },
	},
	fault.NotFound: {
		"namespace": func(f *fault.Error) error {
			return &types.NamespaceNotFound{Message: &f.Msg}
		},
		"service":   func(f *fault.Error) error { return &types.ServiceNotFound{Message: &f.Msg} },
		"instance":  func(f *fault.Error) error { return &types.InstanceNotFound{Message: &f.Msg} },
		"operation": func(f *fault.Error) error { return &types.OperationNotFound{Message: &f.Msg} },
		"custom health": func(f *fault.Error) error {
			return &types.CustomHealthNotFound{Message: &f.Msg}
		},
		"resource": func(f *fault.Error) error {
			return &types.ResourceNotFoundException{Message: &f.Msg}
		},
	},
	fault.Exists: {
		"namespace": func(f *fault.Error) error {
			return &types.NamespaceAlreadyExists{Message: &f.Msg,
				NamespaceId:      awsapi.StringOrNil(f.Fields["NamespaceId"]),
				CreatorRequestId: awsapi.StringOrNil(f.Fields["CreatorRequestId"])}
		},
		"service": func(f *fault.Error) error {
			return &types.ServiceAlreadyExists{Message: &f.Msg, ServiceId: awsapi.StringOrNil(f.Fields["ServiceId"]),
				ServiceArn:       awsapi.StringOrNil(f.Fields["ServiceArn"]),
				CreatorRequestId: awsapi.StringOrNil(f.Fields["CreatorRequestId"])}
		},
	},
	fault.Duplicate: {
		"request": func(f *fault.Error) error {
			return &types.DuplicateRequest{Message: &f.Msg,
				DuplicateOperationId: awsapi.StringOrNil(f.Fields["DuplicateOperationId"])}
		},
	},
	fault.InUse: {
		"namespace": func(f *fault.Error) error { return &types.ResourceInUse{Message: &f.Msg} },
		"service":   func(f *fault.Error) error { return &types.ResourceInUse{Message: &f.Msg} },
	},
	fault.Limit: {
		"tags": func(f *fault.Error) error {
			return &types.TooManyTagsException{Message: &f.Msg,
				ResourceName: awsapi.StringOrNil(f.Fields["ResourceName"])}
		},
		"service attributes": func(f *fault.Error) error {
			return &types.ServiceAttributesLimitExceededException{Message: &f.Msg}
		},
	},
}

// invalid returns an error for a request that breaks a rule of the API rather than of the domain.
func invalid(msg string, args ...any) error { return fault.New(fault.Invalid, "input", msg, args...) }
