package test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/miekg/dns"
)

// call is a request as it goes over the wire: where the SDK would not let a test be wrong.
type call struct {
	operation string // CreateService
	ecs       bool   // of ECS, else of Cloud Map
	body      string

	unsigned bool
	key      aws.Credentials // empty: the server's own
	at       time.Time       // of the signature; zero: now
	service  string          // of the scope; empty: the right one
	tamper   func(*http.Request)
}

// reply is what a call is answered with; code and message are those of an error.
type reply struct {
	status        int
	code, message string
}

// send makes a call.
func (s *server) send(c call) (reply, error) {
	target, service := "Route53AutoNaming_v20170314."+c.operation, "servicediscovery"
	if c.ecs {
		target, service = "AmazonEC2ContainerServiceV20141113."+c.operation, "ecs"
	}
	if c.service != "" {
		service = c.service
	}
	if c.key.AccessKeyID == "" {
		c.key = aws.Credentials{AccessKeyID: s.Keys.AccessKeyID, SecretAccessKey: s.Keys.Secret}
	}
	if c.at.IsZero() {
		c.at = time.Now()
	}
	req, err := http.NewRequestWithContext(s.T.Context(), http.MethodPost, s.Info.API+"/", strings.NewReader(c.body))
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", target)
	if !c.unsigned {
		sum := sha256.Sum256([]byte(c.body))
		if err := v4.NewSigner().SignHTTP(s.T.Context(), c.key, req, hex.EncodeToString(sum[:]), service, "us-east-1", c.at); err != nil {
			return reply{}, err
		}
	}
	if c.tamper != nil {
		c.tamper(req)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}, err
	}
	var said struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	if resp.StatusCode != http.StatusOK {
		err = json.Unmarshal(answer, &said)
	}
	return reply{resp.StatusCode, said.Type, said.Message}, err
}

// replaceBody sends another body than the one that was signed.
func replaceBody(body string) func(*http.Request) {
	return func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		r.GetBody = nil
	}
}

// contents lists all that there is, as a text.
func (s *server) contents() string {
	s.T.Helper()
	ctx := s.T.Context()
	api, ecsAPI := s.cloudMapOnce(), s.ecsOnce()
	return asJSON([]any{
		must[*sd.ListNamespacesOutput](s.T)(api.ListNamespaces(ctx, &sd.ListNamespacesInput{})).Namespaces,
		must[*sd.ListServicesOutput](s.T)(api.ListServices(ctx, &sd.ListServicesInput{})).Services,
		must[*sd.ListOperationsOutput](s.T)(api.ListOperations(ctx, &sd.ListOperationsInput{})).Operations,
		must[*ecs.ListClustersOutput](s.T)(ecsAPI.ListClusters(ctx, &ecs.ListClustersInput{})).ClusterArns,
		must[*ecs.ListTaskDefinitionsOutput](s.T)(ecsAPI.ListTaskDefinitions(ctx, &ecs.ListTaskDefinitionsInput{})).TaskDefinitionArns,
		s.metric("rollcall_store_revision"),
	})
}

// TestOnlySignedCalls holds that a call whose signature is missing, wrong, of another request or of another time
// changes nothing, not even a row that no list shows.
func TestOnlySignedCalls(t *testing.T) {
	t.Parallel()
	s := serve(t, "--runtime", "none")
	cart := s.Discovery(s.Namespace("shop"), "cart", 1)
	must[*sd.RegisterInstanceOutput](t)(s.CloudMap().RegisterInstance(t.Context(), registration(*cart.Id, "one", "10.0.0.1")))

	writes := []call{
		{operation: "CreateHttpNamespace", body: `{"Name":"stolen"}`},
		{operation: "DeregisterInstance", body: fmt.Sprintf(`{"ServiceId":%q,"InstanceId":"one"}`, *cart.Id)},
		{operation: "DeleteService", body: fmt.Sprintf(`{"Id":%q}`, *cart.Id)},
		{operation: "CreateCluster", ecs: true, body: `{"clusterName":"stolen"}`},
		{operation: "RegisterTaskDefinition", ecs: true, body: `{"family":"stolen","containerDefinitions":[{"name":"main","image":"none","memory":64}]}`},
	}
	wrongs := []struct {
		name, code string
		do         func(*call)
	}{
		{"unsigned", "MissingAuthenticationTokenException", func(c *call) { c.unsigned = true }},
		{"an unknown key", "UnrecognizedClientException", func(c *call) {
			c.key = aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: s.Keys.Secret}
		}},
		{"a wrong secret", "InvalidSignatureException", func(c *call) {
			c.key = aws.Credentials{AccessKeyID: s.Keys.AccessKeyID, SecretAccessKey: s.Keys.Secret + "x"}
		}},
		{"an invented session token", "UnrecognizedClientException", func(c *call) {
			c.key = aws.Credentials{AccessKeyID: s.Keys.AccessKeyID, SecretAccessKey: s.Keys.Secret, SessionToken: "invented"}
		}},
		{"expired", "InvalidSignatureException", func(c *call) { c.at = time.Now().Add(-6 * time.Minute) }},
		{"from the future", "InvalidSignatureException", func(c *call) { c.at = time.Now().Add(6 * time.Minute) }},
		{"for another service", "InvalidSignatureException", func(c *call) { c.service = "s3" }},
		{"with another body", "InvalidSignatureException", func(c *call) { c.tamper = replaceBody(strings.Replace(c.body, `"}`, `" }`, 1) + " ") }},
		{"with a declared hash of another body", "InvalidSignatureException", func(c *call) {
			c.tamper = func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD") }
		}},
		{"with another target", "InvalidSignatureException", func(c *call) {
			wanted := c.operation
			c.operation = "ListTagsForResource"
			c.tamper = func(r *http.Request) {
				r.Header.Set("X-Amz-Target", strings.Replace(r.Header.Get("X-Amz-Target"), c.operation, wanted, 1))
			}
		}},
		{"with the host of another server", "InvalidSignatureException", func(c *call) {
			c.tamper = func(r *http.Request) { r.Host = "ecs.us-east-1.amazonaws.com" }
		}},
	}
	before := s.contents()
	for _, wrong := range wrongs {
		for _, write := range writes {
			operation := write.operation
			wrong.do(&write)
			got, err := s.send(write)
			if err != nil || got.status < 400 || got.status >= 500 || got.code != wrong.code {
				t.Errorf("%s, %s: %+v, %v; want a refusal with %s", operation, wrong.name, got, err, wrong.code)
			}
		}
	}
	if after := s.contents(); after != before {
		t.Errorf("something has changed:\n%s\nbefore:\n%s", after, before)
	}
	// The same calls with nothing wrong do what they say, so it was the signature that kept them out.
	for _, write := range writes {
		if got, err := s.send(write); got.status != http.StatusOK {
			t.Errorf("%s, signed: %+v, %v", write.operation, got, err)
		}
	}
}

// undisturbed lets a well-behaved client ask DNS over UDP and the API all the time, until what it returns is called.
// Each answer must be right and come within a second.
func (s *server) undisturbed(ask ...func() error) (stop func()) {
	ctx, cancel := context.WithCancel(s.T.Context())
	var clients sync.WaitGroup
	for n, ask := range ask {
		clients.Go(func() {
			asked := 0
			for ; ctx.Err() == nil; asked++ {
				began := time.Now()
				err := ask()
				if took := time.Since(began); err == nil && took > time.Second {
					err = fmt.Errorf("it took %v", took)
				}
				if err != nil {
					s.T.Errorf("the well-behaved client %d, question %d: %v", n+1, asked+1, err)
					return
				}
			}
			if asked < 10 {
				s.T.Errorf("the well-behaved client %d asked only %d times", n+1, asked)
			}
		})
	}
	return func() {
		cancel()
		clients.Wait()
	}
}

// TestHostileHTTP throws at the API what no client sends. Each is refused, and a well-behaved client notices nothing.
func TestHostileHTTP(t *testing.T) {
	t.Parallel()
	s := serve(t, "--runtime", "none")
	cart := s.Discovery(s.Namespace("shop"), "cart", 1)
	must[*sd.RegisterInstanceOutput](t)(s.CloudMap().RegisterInstance(t.Context(), registration(*cart.Id, "one", "10.0.0.1")))
	before := s.memory()
	stop := s.undisturbed(func() error {
		_, err := s.cloudMapOnce().GetInstance(context.Background(), &sd.GetInstanceInput{ServiceId: cart.Id, InstanceId: aws.String("one")})
		return err
	})

	var slow sync.WaitGroup
	for range 100 {
		slow.Go(func() { s.slowHeaders() })
	}
	nested := strings.Repeat("[", 200_000)
	for _, tc := range []struct {
		name, code string
		status     int
		do         call
	}{
		{"a body of 10 MiB", "RequestEntityTooLargeException", http.StatusRequestEntityTooLarge, call{body: `{"Name":"` + strings.Repeat("x", 10<<20) + `"}`}},
		{"10 MiB in chunks", "RequestEntityTooLargeException", http.StatusRequestEntityTooLarge, call{body: strings.Repeat(" ", 10<<20), tamper: func(r *http.Request) { r.ContentLength = -1 }}},
		{"an unsigned body of 10 MiB", "MissingAuthenticationTokenException", http.StatusBadRequest, call{unsigned: true, body: strings.Repeat("x", 10<<20)}},
		{"no JSON", "SerializationException", http.StatusBadRequest, call{body: "\x00\xff garbage"}},
		{"half of some JSON", "SerializationException", http.StatusBadRequest, call{body: `{"Name":"sh`}},
		{"another type", "SerializationException", http.StatusBadRequest, call{body: `{"Name":{"a":[1]}}`}},
		{"a list", "SerializationException", http.StatusBadRequest, call{body: `[]`}},
		{"deep lists", "SerializationException", http.StatusBadRequest, call{body: nested}},
		{"deep lists, closed", "SerializationException", http.StatusBadRequest, call{body: `{"Tags":` + nested + strings.Repeat("]", 200_000) + `}`}},
		{"deep objects", "SerializationException", http.StatusBadRequest, call{body: strings.Repeat(`{"Name":`, 100_000)}},
		{"no such operation", "UnknownOperationException", http.StatusBadRequest, call{operation: "DropAllTables", body: `{}`}},
	} {
		if tc.do.operation == "" {
			tc.do.operation = "CreateHttpNamespace"
		}
		got, err := s.send(tc.do)
		// A body that the server will not read may end the connection before the client has read the answer.
		gone := err != nil && len(tc.do.body) > 1<<20
		if !gone && (err != nil || got.status != tc.status || got.code != tc.code) {
			t.Errorf("%s: %+v, %v; want %d, %s", tc.name, got, err, tc.status, tc.code)
		}
	}
	s.largeHeaders()
	slow.Wait()
	stop()
	s.grewAtMost(before, 100<<20)
}

// largeHeaders sends 1 MiB of headers, which is refused before they are read to the end. The answer is no API's, hence
// not read by send.
func (s *server) largeHeaders() {
	s.T.Helper()
	req := must[*http.Request](s.T)(http.NewRequestWithContext(s.T.Context(), http.MethodPost, s.Info.API, nil))
	req.Header.Set("X-Large", strings.Repeat("x", 1<<20))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return // the connection ended before the client had sent them all
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		s.T.Errorf("1 MiB of headers: %s", resp.Status)
	}
}

// slowHeaders sends the headers of a request one byte at a time, until the server has had enough.
func (s *server) slowHeaders() {
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.Info.API, "http://"))
	if err != nil {
		s.T.Error(err)
		return
	}
	defer conn.Close()
	began := time.Now()
	closed := make(chan struct{})
	go func() {
		io.Copy(io.Discard, conn)
		close(closed)
	}()
	io.WriteString(conn, "POST / HTTP/1.1\r\nHost: slow\r\n")
	drip := time.NewTicker(100 * time.Millisecond)
	defer drip.Stop()
	for {
		select {
		case <-closed:
			return
		case <-drip.C:
			io.WriteString(conn, "x")
		}
		if time.Since(began) > 20*time.Second {
			s.T.Error("a client that never finishes its headers has been borne for 20 s")
			return
		}
	}
}

// TestManyConnections opens more connections to the API than it takes. Those that it has taken go on, and when they
// end it takes others.
func TestManyConnections(t *testing.T) {
	t.Parallel()
	s := serve(t, "--runtime", "none")
	s.Namespace("shop")
	const most = 4096 // of package app
	before := s.memory()
	var conns []net.Conn
	for range most + 500 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.Info.API, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	eventually(t, 5*time.Second, "as many connections as there may be are open", func() bool { return s.memory().files >= most })
	if now := s.memory(); now.files > before.files+most {
		t.Errorf("%d files are open, before it were %d", now.files, before.files)
	}
	if got := s.askedOnce("cart.shop"); got != dns.RcodeNameError {
		t.Errorf("DNS answers %s while the API is full", dns.RcodeToString[got])
	}
	for _, conn := range conns {
		conn.Close()
	}
	if got, err := s.send(call{operation: "ListNamespaces", body: `{}`}); got.status != http.StatusOK {
		t.Errorf("afterwards: %+v, %v", got, err)
	}
	s.grewAtMost(before, 500<<20) // 100 MiB, and some times as much under the race detector
}

// askedOnce is the code that one query is answered with.
func (s *server) askedOnce(name string) int {
	s.T.Helper()
	return must[*dns.Msg](s.T)(s.ask(name, dns.TypeA)).Rcode
}
