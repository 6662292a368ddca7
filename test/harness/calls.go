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

// Call is a request as it goes over the wire: where the SDK would not let a test be wrong.
type Call struct {
	Operation string // CreateService
	ECS       bool   // of ECS, else of Cloud Map
	Body      string

	Unsigned bool
	Key      aws.Credentials // empty: the server's own
	At       time.Time       // of the signature; zero: now
	Service  string          // of the scope; empty: the right one
	Tamper   func(*http.Request)
}

// Reply is what a call is answered with; code and message are those of an error.
type Reply struct {
	Status        int
	Code, Message string
}

// Send makes a call.
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
		if err := v4.NewSigner().SignHTTP(s.T.Context(), c.Key, req, hex.EncodeToString(sum[:]), service, "us-east-1", c.At); err != nil {
			return Reply{}, err
		}
	}
	if c.Tamper != nil {
		c.Tamper(req)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return Reply{}, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return Reply{}, err
	}
	var said struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	if resp.StatusCode != http.StatusOK {
		err = json.Unmarshal(answer, &said)
	}
	return Reply{resp.StatusCode, said.Type, said.Message}, err
}

// Contents lists all that there is, as a text.
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
