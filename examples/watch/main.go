// Command watch prints the healthy instances of a service each time they change:
//
//	eval "$(rollcall env)"
//	go run ./examples/watch corp worker
//
// It uses only the AWS SDK. The header X-Rollcall-After makes Rollcall respond at the next change (see docs/watch.md),
// so the program need not poll. AWS ignores the header; with AWS, the program polls every few seconds.
package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

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

// pollInterval is the time between two calls to a server that does not implement the watch.
const pollInterval = 5 * time.Second

// watch prints changes until a call fails.
func watch(ctx context.Context, namespace, service string) error {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	client := sd.NewFromConfig(cfg, noHostPrefix)
	printed := ""
	for after := "0"; ; {
		out, err := client.DiscoverInstances(ctx, &sd.DiscoverInstancesInput{NamespaceName: &namespace,
			ServiceName: &service},
			func(o *sd.Options) {
				o.APIOptions = append(o.APIOptions, smithyhttp.SetHeaderValue("X-Rollcall-After", after))
			})
		if err != nil {
			return err
		}
		var all []string
		for _, i := range out.Instances {
			all = append(all, cmp.Or(i.Attributes["AWS_INSTANCE_IPV4"], *i.InstanceId))
		}
		slices.Sort(all)
		// The revision also changes with instances that the response does not contain, and after a wait without a change
		// it is the same, so compare the instances themselves.
		if line := fmt.Sprintln(len(all), strings.Join(all, " ")); line != printed {
			fmt.Print(line)
			printed = line
		}
		if revision := header(out.ResultMetadata, "X-Rollcall-Revision"); revision != "" {
			after = revision
		} else {
			time.Sleep(pollInterval)
		}
	}
}

// header returns a header of a response.
func header(m middleware.Metadata, name string) string {
	r, ok := awsmiddleware.GetRawResponse(m).(*smithyhttp.Response)
	if !ok {
		return ""
	}
	return http.Header(r.Header).Get(name)
}

// noHostPrefix stops the SDK from prepending "data-" to the endpoint's host (docs/clients.md).
func noHostPrefix(o *sd.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("NoHostPrefix",
			func(ctx context.Context, in middleware.InitializeInput,
				next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
				return next.HandleInitialize(smithyhttp.DisableEndpointHostPrefix(ctx, true), in)
			}), middleware.Before)
	})
}
