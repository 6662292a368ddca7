package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"github.com/aws/smithy-go"
	"github.com/miekg/dns"
)

// sharedClient are shared by the clients below, as by those of one program.
var sharedClient = bodyFromMemory{awshttp.NewBuildableClient()}

// bodyFromMemory sends bodies from memory of its own. The SDK closes its body once the answer's header is there; a
// transport that then still looks for the end of the body takes that for a failed write, and closes the
// connection while the answer is being read. A client that never repeats a call would fail with it.
type bodyFromMemory struct{ *awshttp.BuildableClient }

func (c bodyFromMemory) Do(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		return c.BuildableClient.Do(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	return c.BuildableClient.Do(r)
}

// ConfigWithoutRetries is that of a client which never repeats a call, so that a test sees each answer that there is. Like all
// of this file it may be used from any goroutine.
func (s *Server) ConfigWithoutRetries() aws.Config {
	cfg := s.AWSConfig()
	cfg.RetryMaxAttempts = 1
	cfg.HTTPClient = sharedClient
	return cfg
}

func (s *Server) CloudMapWithoutRetries() *servicediscovery.Client {
	return servicediscovery.NewFromConfig(s.ConfigWithoutRetries(), NoHostPrefix)
}

func (s *Server) ECSWithoutRetries() *ecs.Client { return ecs.NewFromConfig(s.ConfigWithoutRetries()) }

// QueryDNS sends one query over UDP, once.
func (s *Server) QueryDNS(name string, typ uint16) (*dns.Msg, error) {
	client := dns.Client{Net: "udp", Timeout: 2 * time.Second}
	reply, _, err := client.Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), typ), s.Info.DNS[0])
	return reply, err
}

// QueryA are those of the A records that one query is answered with, sorted.
func (s *Server) QueryA(name string) ([]string, error) {
	reply, err := s.QueryDNS(name, dns.TypeA)
	if err != nil {
		return nil, err
	}
	if reply.Rcode != dns.RcodeSuccess {
		return nil, fmt.Errorf("%s is answered %s", name, dns.RcodeToString[reply.Rcode])
	}
	var all []string
	for _, rr := range reply.Answer {
		if a, ok := rr.(*dns.A); ok {
			all = append(all, a.A.String())
		}
	}
	slices.Sort(all)
	return all, nil
}

// ReadPages reads all pages.
func ReadPages[O any](t testing.TB, pages interface {
	HasMorePages() bool
	NextPage(context.Context, ...func(*sd.Options)) (*O, error)
}, names func(*O) []string) (all []string) {
	t.Helper()
	for pages.HasMorePages() {
		all = append(all, names(Must(pages.NextPage(t.Context()))(t))...)
	}
	return all
}

// Registration is the call that registers an instance with an IPv4 address.
func Registration(service, id, ip string) *sd.RegisterInstanceInput {
	return &sd.RegisterInstanceInput{ServiceId: &service, InstanceId: &id, Attributes: map[string]string{"AWS_INSTANCE_IPV4": ip}}
}

// ErrorCode is the code of an AWS error, "" for none, and the text of any other error.
func ErrorCode(err error) string {
	var apiErr smithy.APIError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &apiErr):
		return apiErr.ErrorCode()
	}
	return err.Error()
}

// CheckQueryA compares the answer of one query with the addresses that are wanted.
func (s *Server) CheckQueryA(name string, want ...string) error {
	got, err := s.QueryA(name)
	slices.Sort(want)
	if err == nil && !slices.Equal(got, want) {
		err = fmt.Errorf("DNS answers %v for %s, want %v", got, name, want)
	}
	return err
}

// Get reads a page of the API's server.
func (s *Server) Get(path string) (status int, body string) {
	s.T.Helper()
	resp := Must(http.Get(s.Info.API + path))(s.T)
	defer resp.Body.Close()
	return resp.StatusCode, string(Must(io.ReadAll(resp.Body))(s.T))
}

// Metric reads one gauge or counter.
func (s *Server) Metric(name string) float64 {
	s.T.Helper()
	_, body := s.Get("/metrics")
	for line := range strings.Lines(body) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			return Must(strconv.ParseFloat(strings.TrimSpace(value), 64))(s.T)
		}
	}
	s.T.Fatalf("there is no metric %s", name)
	return 0
}

// CheckAnswers holds that DNS, DiscoverInstances and ECS name the same n tasks.
func (s *Server) CheckAnswers(service string, n int) {
	s.T.Helper()
	var dns, disc, ecs []string
	Eventually(s.T, 20*time.Second, fmt.Sprintf("%d tasks of %s in every answer", n, service), func() bool {
		dns, disc, ecs = nil, nil, nil
		for ip := range s.Lookup(service + ".shop") {
			dns = append(dns, ip.String())
		}
		for _, ip := range s.Discover("shop", service, sdtypes.HealthStatusFilterHealthy) {
			disc = append(disc, ip)
		}
		for _, t := range s.Tasks(service, ecstypes.DesiredStatusRunning) {
			ecs = append(ecs, Address(t))
		}
		return len(dns) == n && sameSet(dns, disc) && sameSet(dns, ecs)
	})
}

func sameSet(a, b []string) bool {
	set := map[string]bool{}
	for _, x := range a {
		set[x] = true
	}
	for _, x := range b {
		if !set[x] {
			return false
		}
	}
	return len(a) == len(b)
}

// RegisterInstance registers an instance, as a program that is no task does.
func (s *Server) RegisterInstance(service, id string, attributes map[string]string) {
	s.T.Helper()
	Must(s.CloudMap().RegisterInstance(s.T.Context(), &servicediscovery.RegisterInstanceInput{
		ServiceId: &service, InstanceId: &id, Attributes: attributes,
	}))(s.T)
}
