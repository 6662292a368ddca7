package harness

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
)

// Call is a request on the wire. Tests use it to send what the SDK would refuse to send.
type Call struct {
	Operation string // CreateService
	ECS       bool   // sends to ECS instead of Cloud Map
	Body      string

	Unsigned bool
	Key      aws.Credentials     // if empty, the server's
	At       time.Time           // the time of the signature; if zero, now
	Service  string              // in the scope of the signature; if empty, the right one
	Tamper   func(*http.Request) // changes the request after it is signed
}

// Reply is the answer to a Call. Code and Message are those of an error.
type Reply struct {
	Status        int
	Code, Message string
}

// Send sends a call over a connection that no other call uses.
func (s *Server) Send(c Call) (Reply, error) {
	target, service := "Route53AutoNaming_v20170314."+c.Operation, "servicediscovery"
	if c.ECS {
		target, service = "AmazonEC2ContainerServiceV20141113."+c.Operation, "ecs"
	}
	if c.Service != "" {
		service = c.Service
	}
	if c.Key.AccessKeyID == "" {
		c.Key = aws.Credentials{AccessKeyID: s.Keys.AccessKeyID, SecretAccessKey: s.Keys.Secret}
	}
	if c.At.IsZero() {
		c.At = time.Now()
	}
	req, err := http.NewRequestWithContext(s.T.Context(), http.MethodPost, s.Info.API+"/", strings.NewReader(c.Body))
	if err != nil {
		return Reply{}, err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", target)
	if !c.Unsigned {
		sum := sha256.Sum256([]byte(c.Body))
		if err := v4.NewSigner().SignHTTP(s.T.Context(), c.Key, req, hex.EncodeToString(sum[:]), service, "us-east-1",
			c.At); err != nil {
			return Reply{}, err
		}
	}
	if c.Tamper != nil {
		c.Tamper(req)
	}
	resp, err := oneRequestPerConnection.Do(req)
	if err != nil {
		return Reply{}, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return Reply{}, err
	}
	var failure struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	if resp.StatusCode != http.StatusOK {
		err = json.Unmarshal(answer, &failure)
	}
	return Reply{resp.StatusCode, failure.Type, failure.Message}, err
}

// Contents returns everything that the lists of the APIs show, and the store's revision, as text.
func (s *Server) Contents() string {
	s.T.Helper()
	ctx := s.T.Context()
	api, ecsAPI := s.CloudMapWithoutRetries(), s.ECSWithoutRetries()
	return AsJSON([]any{
		Must(api.ListNamespaces(ctx, &sd.ListNamespacesInput{}))(s.T).Namespaces,
		Must(api.ListServices(ctx, &sd.ListServicesInput{}))(s.T).Services,
		Must(api.ListOperations(ctx, &sd.ListOperationsInput{}))(s.T).Operations,
		Must(ecsAPI.ListClusters(ctx, &ecs.ListClustersInput{}))(s.T).ClusterArns,
		Must(ecsAPI.ListTaskDefinitions(ctx, &ecs.ListTaskDefinitionsInput{}))(s.T).TaskDefinitionArns,
		s.Metric("rollcall_store_revision"),
	})
}
