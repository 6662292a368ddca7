// Package apitest gives the tests of the APIs what they share: APIs behind a socket and a signature, the SDK's
// configuration for their clients, a clock, a store that loses the outcome of a commit, and short forms for calls
// that must succeed.
//
// Start reading at [Serve]. A test package combines it with a store of package storetest:
//
//	db := storetest.Open(t, registry.Schema()...)
//	srv := apitest.Serve(t, cloudmap.New(db, dir, nil, clock.Now))
//	client := servicediscovery.NewFromConfig(srv.Config())
//	out := apitest.Must(client.GetNamespace(t.Context(), in))(t)
//
// apitest knows the protocol, but none of the APIs. Each test has its own server, its own connections and its own
// access keys, so tests never see each other's.
package apitest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
)

// The account of every caller, and the region of clients that name none.
const (
	Account = "123456789012"
	Region  = "eu-west-1"
)

// Timeout is the longest time that a call may take. A call without an answer fails on its own, instead of
// blocking all tests of the package.
const Timeout = 5 * time.Minute

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
func Serve(t testing.TB, apis ...awsapi.API) *Server {
	t.Helper()
	keys, err := awsapi.NewKeys(Administrator, OtherAdministrator, ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewServer(awsapi.NewHandler(awsapi.Config{Account: Account, Keys: keys}, apis...))
	t.Cleanup(ts.Close)
	s := &Server{URL: "http://rollcall.test", Keys: keys, address: ts.Listener.Addr().String()}
	// A transport of its own: connections that are kept alive in http.DefaultTransport would outlive the server, and a
	// later test whose server listens on the same port would be given one of them.
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, s.address)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	s.HTTP = &http.Client{Transport: bufferedBodies{transport}, Timeout: Timeout}
	return s
}

// bufferedBodies sends each request with a copy of its body.
//
// The SDK closes a request's body as soon as the response's header has arrived. net/http's transport reads the body
// once more after its last byte, to see that it ends there. On a busy machine the response can arrive before that
// read, which then fails with "read on closed body"; the transport takes that for a failed write and closes the
// connection under the response that the SDK is reading. SDK clients retry, but tests count calls and do not.
type bufferedBodies struct{ next http.RoundTripper }

func (t bufferedBodies) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		return t.next.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body.Close()
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	return t.next.RoundTrip(r)
}

// Dial opens a connection to the server, for tests that write and read HTTP themselves. It is closed when the test
// ends.
func (s *Server) Dial(t testing.TB) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(Timeout)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// Config returns the configuration of an SDK client that calls as Administrator from Region and never retries.
// Options change it.
func (s *Server) Config(options ...func(*aws.Config)) aws.Config {
	c := aws.Config{
		Region: Region, BaseEndpoint: &s.URL, HTTPClient: s.HTTP, RetryMaxAttempts: 1,
		Credentials: credentials(Administrator),
	}
	for _, option := range options {
		option(&c)
	}
	return c
}

func credentials(p awsapi.Pair) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: p.AccessKeyID, SecretAccessKey: p.Secret}, nil
	})
}

// InRegion makes a client call from another region.
func InRegion(region string) func(*aws.Config) { return func(c *aws.Config) { c.Region = region } }

// As makes a client call with another access key.
func As(key awsapi.Pair) func(*aws.Config) {
	return func(c *aws.Config) { c.Credentials = credentials(key) }
}

// WithInvocationID makes a client send the same invocation id with every call, as the SDK does with the retries of
// one call.
func WithInvocationID(id string) func(*aws.Config) {
	set := middleware.BuildMiddlewareFunc("set the invocation id", func(ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler) (
		middleware.BuildOutput, middleware.Metadata, error) {
		in.Request.(*smithyhttp.Request).Header.Set("Amz-Sdk-Invocation-Id", id)
		return next.HandleBuild(ctx, in)
	})
	return func(c *aws.Config) {
		c.APIOptions = append(c.APIOptions, func(s *middleware.Stack) error { return s.Build.Add(set, middleware.After) })
	}
}

// Must returns the result of a call that must succeed:
//
//	out := apitest.Must(client.GetNamespace(ctx, in))(t)
func Must[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
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
