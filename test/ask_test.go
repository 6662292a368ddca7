package test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/miekg/dns"
)

// connections are shared by the clients below, as by those of one program.
var connections = inMemory{awshttp.NewBuildableClient()}

// inMemory sends bodies from memory of its own. The SDK closes its body once the answer's header is there; a
// transport that then still looks for the end of the body takes that for a failed write, and closes the
// connection while the answer is being read. A client that never repeats a call would fail with it.
type inMemory struct{ *awshttp.BuildableClient }

func (c inMemory) Do(r *http.Request) (*http.Response, error) {
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

// configOnce is that of a client which never repeats a call, so that a test sees each answer that there is. Like all
// of this file it may be used from any goroutine.
func (s *server) configOnce() aws.Config {
	cfg := s.AWSConfig()
	cfg.RetryMaxAttempts = 1
	cfg.HTTPClient = connections
	return cfg
}

func (s *server) cloudMapOnce() *servicediscovery.Client {
	return servicediscovery.NewFromConfig(s.configOnce(), noHostPrefix)
}

func (s *server) ecsOnce() *ecs.Client { return ecs.NewFromConfig(s.configOnce()) }

// ask sends one query over UDP, once.
func (s *server) ask(name string, typ uint16) (*dns.Msg, error) {
	client := dns.Client{Net: "udp", Timeout: 2 * time.Second}
	reply, _, err := client.Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), typ), s.Info.DNS[0])
	return reply, err
}

// addresses are those of the A records that one query is answered with, sorted.
func (s *server) addresses(name string) ([]string, error) {
	reply, err := s.ask(name, dns.TypeA)
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
