package awsapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"

	"github.com/bakingclouds/rollcall/internal/api/clienttest"
)

const account = "123456789012"

var (
	noon  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	root  = Pair{AccessKeyID: "AKIAROOT", Secret: "root/secret+1", Role: Administrator}
	guest = Pair{AccessKeyID: "AKIAGUEST", Secret: "guest/secret+1", Role: ReadOnly}
)

func newKeys(tb testing.TB) *Keys {
	tb.Helper()
	keys, err := NewKeys(root, guest)
	if err != nil {
		tb.Fatal(err)
	}
	return keys
}

func newCloudMap() *Service {
	return &Service{TargetPrefix: "Route53AutoNaming_v20170314", SigningName: "servicediscovery", Naming: UpperCamel}
}

func newECS() *Service {
	return &Service{TargetPrefix: "AmazonEC2ContainerServiceV20141113", SigningName: "ecs", Naming: LowerCamel}
}

// logBuffer is a log that a server's goroutines may write while the test reads it.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// server is a set of APIs behind a real socket, with the SDK's clients for them.
type server struct {
	url  string // its host is a name, so that SDKs can prefix it with "data-"
	log  *logBuffer
	http *http.Client
}

func serve(t *testing.T, apis ...API) *server {
	t.Helper()
	s := &server{log: &logBuffer{}}
	ts := httptest.NewServer(NewHandler(Config{
		Account: account,
		Keys:    newKeys(t),
		Logger:  slog.New(slog.NewTextHandler(s.log, nil)),
	}, apis...))
	t.Cleanup(ts.Close)
	s.http = clienttest.New(t, ts.Listener.Addr().String())
	s.url = "http://rollcall.test:7070"
	return s
}

func (p Pair) provider() aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: p.AccessKeyID, SecretAccessKey: p.Secret}, nil
	})
}

func (s *server) cloudMap(p aws.CredentialsProvider) *sd.Client {
	return sd.New(sd.Options{Region: "eu-west-1", BaseEndpoint: &s.url, HTTPClient: s.http, Credentials: p,
		RetryMaxAttempts: 1})
}

func (s *server) ecs(p aws.CredentialsProvider) *ecs.Client {
	return ecs.New(ecs.Options{Region: "eu-west-1", BaseEndpoint: &s.url, HTTPClient: s.http, Credentials: p,
		RetryMaxAttempts: 1})
}

// signed returns the request that a client with these credentials would send at noon, ready for a handler. edit, which
// may be nil, changes it before it is signed.
func signed(tb testing.TB, c aws.Credentials, target, body string, edit func(*http.Request)) *http.Request {
	tb.Helper()
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	r.RequestURI = ""
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", target)
	if edit != nil {
		edit(r)
	}
	sign(tb, r, c, body, "servicediscovery", noon)
	return r
}

func sign(tb testing.TB, r *http.Request, c aws.Credentials, body, service string, at time.Time) {
	tb.Helper()
	if err := v4.NewSigner().SignHTTP(tb.Context(), c, r, hashOf(body), service, "us-east-1", at); err != nil {
		tb.Fatal(err)
	}
}

func (p Pair) credentials() aws.Credentials {
	return aws.Credentials{AccessKeyID: p.AccessKeyID, SecretAccessKey: p.Secret}
}

// hashOf returns the hash of a body, which a signature covers.
func hashOf(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

// responseTo serves one request at noon and returns the response.
func responseTo(tb testing.TB, r *http.Request, apis ...API) *httptest.ResponseRecorder {
	tb.Helper()
	w := httptest.NewRecorder()
	NewHandler(Config{
		Account: account,
		Keys:    newKeys(tb),
		Now:     func() time.Time { return noon },
		Logger:  slog.New(slog.NewTextHandler(&bytes.Buffer{}, nil)),
	}, apis...).ServeHTTP(w, r)
	return w
}
