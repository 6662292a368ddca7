// Command watch prints the healthy instances of a service each time they change, without polling:
//
//	eval "$(rollcall env)"
//	go run ./examples/watch corp worker
//
// It is an ordinary user of the AWS SDK: two headers ask Rollcall to answer at the next change (see
// docs/watch.md). On AWS itself they are ignored, and this becomes a poll.
package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/config"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: watch NAMESPACE SERVICE")
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, "watch:", watch(context.Background(), os.Args[1], os.Args[2]))
	os.Exit(1)
}

// watch prints until it fails.
func watch(ctx context.Context, namespace, service string) error {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	client := sd.NewFromConfig(cfg, noHostPrefix)
	for after := "0"; ; {
		out, err := client.DiscoverInstances(ctx, &sd.DiscoverInstancesInput{NamespaceName: &namespace, ServiceName: &service},
			func(o *sd.Options) {
				o.APIOptions = append(o.APIOptions, smithyhttp.SetHeaderValue("X-Rollcall-After", after))
			})
		if err != nil {
			return err
		}
		revision := header(out.ResultMetadata, "X-Rollcall-Revision")
		if revision == after {
			continue // the time to wait was over, and nothing has changed
		}
		after = revision
		var all []string
		for _, i := range out.Instances {
			all = append(all, cmp.Or(i.Attributes["AWS_INSTANCE_IPV4"], *i.InstanceId))
		}
		slices.Sort(all)
		fmt.Println(len(all), strings.Join(all, " "))
	}
}

// header reads a header of an answer.
func header(m middleware.Metadata, name string) string {
	r, ok := awsmiddleware.GetRawResponse(m).(*smithyhttp.Response)
	if !ok {
		return ""
	}
	return http.Header(r.Header).Get(name)
}

// noHostPrefix keeps the SDK from putting "data-" before the endpoint's host (docs/clients.md).
func noHostPrefix(o *sd.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("NoHostPrefix",
			func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
				return next.HandleInitialize(smithyhttp.DisableEndpointHostPrefix(ctx, true), in)
			}), middleware.Before)
	})
}
