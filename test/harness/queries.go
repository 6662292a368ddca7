package harness

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"github.com/miekg/dns"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
)

// ConfigWithoutRetries returns the configuration of a client that never repeats a call, so that a test sees every
// answer.
func (s *Server) ConfigWithoutRetries() aws.Config {
	cfg := s.AWSConfig()
	cfg.RetryMaxAttempts = 1
	cfg.HTTPClient = s.client
	return cfg
}

// CloudMapWithoutRetries returns a client of the Cloud Map API that never repeats a call.
func (s *Server) CloudMapWithoutRetries() *sd.Client {
	return sd.NewFromConfig(s.ConfigWithoutRetries(), NoHostPrefix)
}

// ECSWithoutRetries returns a client of the ECS API that never repeats a call.
func (s *Server) ECSWithoutRetries() *ecs.Client { return ecs.NewFromConfig(s.ConfigWithoutRetries()) }

// QueryDNS sends one query over UDP.
func (s *Server) QueryDNS(name string, typ uint16) (*dns.Msg, error) {
	client := dns.Client{Net: "udp", Timeout: 20 * time.Second}
	reply, _, err := client.Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), typ), s.Info.DNS[0])
	return reply, err
}

// QueryA sends one query and returns the addresses of the A records in the answer, sorted.
func (s *Server) QueryA(name string) ([]string, error) {
	reply, err := s.QueryDNS(name, dns.TypeA)
	if err != nil {
		return nil, err
	}
	if reply.Rcode != dns.RcodeSuccess {
		return nil, fmt.Errorf("the answer for %s is %s", name, dns.RcodeToString[reply.Rcode])
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

// ReadPages reads all pages of a list of Cloud Map and returns what names returns for each, in order.
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

// Registration returns the input of a RegisterInstance call with an IPv4 address.
func Registration(service, id, ip string) *sd.RegisterInstanceInput {
	return &sd.RegisterInstanceInput{ServiceId: &service, InstanceId: &id,
		Attributes: map[string]string{"AWS_INSTANCE_IPV4": ip}}
}

// ErrorCode returns the code of an AWS error, "" for nil, and the text of any other error.
func ErrorCode(err error) string { return apitest.ErrorCode(err) }

// CheckQueryA sends one query and returns an error if the addresses in the answer are not those in want.
func (s *Server) CheckQueryA(name string, want ...string) error {
	got, err := s.QueryA(name)
	slices.Sort(want)
	if err == nil && !slices.Equal(got, want) {
		err = fmt.Errorf("DNS answers %v for %s, want %v", got, name, want)
	}
	return err
}

// Get reads a page of the HTTP server.
func (s *Server) Get(path string) (status int, body string) {
	s.T.Helper()
	resp := Must(oneRequestPerConnection.Get(s.Info.API + path))(s.T)
	defer resp.Body.Close()
	return resp.StatusCode, string(Must(io.ReadAll(resp.Body))(s.T))
}

// Metric returns the value of a gauge or counter.
func (s *Server) Metric(name string) float64 {
	s.T.Helper()
	_, body := s.Get("/metrics")
	for line := range strings.Lines(body) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			return Must(strconv.ParseFloat(strings.TrimSpace(value), 64))(s.T)
		}
	}
	s.T.Fatalf("no metric %s", name)
	return 0
}

// CheckAnswers waits until DNS, DiscoverInstances and ECS name the same n tasks of a service in the namespace shop.
func (s *Server) CheckAnswers(service string, n int) {
	s.T.Helper()
	var dns, disc, ecs []string
	Eventually(s.T, 20*time.Second, fmt.Sprintf("every answer has %d tasks of %s", n, service), func() bool {
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
		return len(dns) == n && sameElements(dns, disc) && sameElements(dns, ecs)
	})
}

// sameElements reports whether two lists of different strings have the same elements.
func sameElements(a, b []string) bool {
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

// RegisterInstance registers an instance, as a program that is not a task does.
func (s *Server) RegisterInstance(service, id string, attributes map[string]string) {
	s.T.Helper()
	Must(s.CloudMap().RegisterInstance(s.T.Context(), &sd.RegisterInstanceInput{
		ServiceId: &service, InstanceId: &id, Attributes: attributes,
	}))(s.T)
}
