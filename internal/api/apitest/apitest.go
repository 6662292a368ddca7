// Package apitest provides what the tests of the APIs share: APIs behind a socket and a signature, the SDK's
// configuration for their clients, a clock, a store that loses the outcome of a commit, and short forms for calls that
// must succeed.
//
// Start reading at [Serve]. A test package combines it with a store of package storetest:
//
//	db := storetest.Open(t, registry.Schema()...)
//	srv := apitest.Serve(t, cloudmap.New(db, dir, nil, clock.Now))
//	client := servicediscovery.NewFromConfig(srv.Config())
//	out := apitest.Must(client.GetNamespace(t.Context(), in))(t)
//
// apitest knows the protocol, but none of the APIs. Each server has its own connections and access keys, so tests
// cannot affect each other.
package apitest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/clienttest"
)

// The account of every caller, and the region of clients that name none.
const (
	Account = "123456789012"
	Region  = "eu-west-1"
)

// The access keys of every server.
var (
	Administrator      = awsapi.Pair{AccessKeyID: "AKIAROOT", Secret: "root/secret+1", Role: awsapi.Administrator}
	OtherAdministrator = awsapi.Pair{AccessKeyID: "AKIAOTHER", Secret: "other/secret+1", Role: awsapi.Administrator}
	ReadOnly           = awsapi.Pair{AccessKeyID: "AKIAREAD", Secret: "read/secret+1", Role: awsapi.ReadOnly}
)

// Server is a set of APIs on a local socket.
type Server struct {
	// URL is the endpoint. Its host is a name, so that SDKs put "data-" before the host of the Discover operations
	// as they do at AWS; HTTP connects every host to this server.
	URL string
	// HTTP is the client for requests that no SDK sends. The clients of Config use it as well.
	HTTP *http.Client
	// Keys are the server's access keys.
	Keys *awsapi.Keys

	address string
}

// Serve starts a server and stops it when the test ends.
func Serve(tb testing.TB, apis ...awsapi.API) *Server {
	tb.Helper()
	keys, err := awsapi.NewKeys(Administrator, OtherAdministrator, ReadOnly)
	if err != nil {
		tb.Fatal(err)
	}
	ts := httptest.NewServer(awsapi.NewHandler(awsapi.Config{Account: Account, Keys: keys}, apis...))
	tb.Cleanup(ts.Close)
	s := &Server{URL: "http://rollcall.test", Keys: keys, address: ts.Listener.Addr().String()}
	s.HTTP = clienttest.New(tb, s.address)
	return s
}

// Dial opens a connection to the server, for tests that write and read HTTP themselves. It is closed when the test
// ends.
func (s *Server) Dial(tb testing.TB) net.Conn {
	tb.Helper()
	conn, err := (&net.Dialer{}).DialContext(tb.Context(), "tcp", s.address)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(clienttest.Timeout)); err != nil {
		tb.Fatal(err)
	}
	return conn
}

// Config returns the configuration of an SDK client that calls as Administrator from Region and never retries.
// Options change it.
func (s *Server) Config(options ...func(*aws.Config)) aws.Config {
	c := aws.Config{
		Region: Region, BaseEndpoint: &s.URL, HTTPClient: s.HTTP, RetryMaxAttempts: 1,
		Credentials: provider(Credentials(Administrator)),
	}
	for _, option := range options {
		option(&c)
	}
	return c
}

// Credentials returns a permanent access key in the form that the SDK uses.
func Credentials(key awsapi.Pair) aws.Credentials {
	return aws.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: key.Secret}
}

func provider(c aws.Credentials) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return c, nil })
}

// InRegion makes a client call from another region.
func InRegion(region string) func(*aws.Config) { return func(c *aws.Config) { c.Region = region } }

// As makes a client call with another access key.
func As(key awsapi.Pair) func(*aws.Config) {
	return WithCredentials(Credentials(key))
}

// WithCredentials makes a client call with other credentials, for example those of a session.
func WithCredentials(credentials aws.Credentials) func(*aws.Config) {
	return func(c *aws.Config) { c.Credentials = provider(credentials) }
}

// WithInvocationID makes a client send the same invocation id with every call, as the SDK does with the retries of
// one call.
func WithInvocationID(id string) func(*aws.Config) {
	set := middleware.BuildMiddlewareFunc("set the invocation id",
		func(ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler) (
			middleware.BuildOutput, middleware.Metadata, error) {
			in.Request.(*smithyhttp.Request).Header.Set("Amz-Sdk-Invocation-Id", id)
			return next.HandleBuild(ctx, in)
		})
	return func(c *aws.Config) {
		c.APIOptions = append(c.APIOptions, func(s *middleware.Stack) error {
			return s.Build.Add(set, middleware.After)
		})
	}
}

// Must returns the result of a call that must succeed:
//
//	out := apitest.Must(client.GetNamespace(ctx, in))(t)
func Must[T any](v T, err error) func(testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

// ErrorText returns an API's error as "Code: message", without the suffix "Exception" of the code, and "" for no error.
func ErrorText(err error) string {
	var api smithy.APIError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &api):
		return strings.TrimSuffix(api.ErrorCode(), "Exception") + ": " + api.ErrorMessage()
	}
	return "not an error of an API: " + err.Error()
}

// ErrorCode returns the code of an API's error, "" for no error, and the text of any other error.
func ErrorCode(err error) string {
	var api smithy.APIError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &api):
		return api.ErrorCode()
	}
	return err.Error()
}
