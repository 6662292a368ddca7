package harness

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// The next two functions are in docs/clients.md, word for word.

// newCloudMap returns a Cloud Map client for AWS_ENDPOINT_URL.
func newCloudMap(ctx context.Context) (*servicediscovery.Client, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, err
	}
	return servicediscovery.NewFromConfig(cfg, noHostPrefix), nil
}

// noHostPrefix stops the SDK from calling the host data-127.0.0.1.
func noHostPrefix(o *servicediscovery.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("NoHostPrefix",
			func(ctx context.Context, in middleware.InitializeInput,
				next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
				return next.HandleInitialize(smithyhttp.DisableEndpointHostPrefix(ctx, true), in)
			}), middleware.Before)
	})
}

// NewCloudMap and NoHostPrefix export the two functions above.
var (
	NewCloudMap  = newCloudMap
	NoHostPrefix = noHostPrefix
)
