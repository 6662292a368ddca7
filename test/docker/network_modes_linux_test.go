package docker

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/bakingclouds/rollcall/test/harness"
)

// createServiceWithSRV creates a service whose tasks use the host's address, with an SRV record.
func (s *server) createServiceWithSRV(corp string, in *ecs.RegisterTaskDefinitionInput, count int32) {
	s.T.Helper()
	registry := s.CreateCloudMapService(corp, *in.Family, 5, sdtypes.RecordTypeSrv)
	definition := s.RegisterDefinition(in)
	harness.Must(s.ECS().CreateService(s.T.Context(), &ecs.CreateServiceInput{
		ServiceName: in.Family, TaskDefinition: &definition, DesiredCount: &count,
		ServiceRegistries: []ecstypes.ServiceRegistry{{
			RegistryArn: registry.Arn, ContainerName: aws.String("main"),
			ContainerPort: in.ContainerDefinitions[0].PortMappings[0].ContainerPort,
		}},
	}))(s.T)
	s.WaitStable(*in.Family)
}

// TestBridgeMode checks that tasks with ports of the host are found by SRV records with the host's address and the port
// of each task.
func TestBridgeMode(t *testing.T) {
	t.Parallel()
	harness.RequireEngine(t)
	s := serve(t)
	corp := s.CreateNamespace("corp")
	in := unchecked("worker")
	in.NetworkMode = ecstypes.NetworkModeBridge
	s.createServiceWithSRV(corp, in, 2)
	want := map[uint16]bool{}
	for _, task := range s.running("worker") {
		bindings := task.Containers[0].NetworkBindings
		if len(bindings) != 1 || aws.ToInt32(bindings[0].ContainerPort) != 5000 {
			t.Fatalf("the task's network bindings are %s", harness.AsJSON(bindings))
		}
		want[uint16(*bindings[0].HostPort)] = true
	}
	s.checkSRV("worker.corp", want, "/work?n=10")
}

// TestHostMode checks a task that uses the host's network.
func TestHostMode(t *testing.T) {
	t.Parallel()
	image := clientsImage(t)
	s := serve(t)
	port := harness.FreePort(t)
	main := container("main", image, "busybox", "httpd", "-f", "-p", strconv.Itoa(port), "-h", "/etc")
	main.PortMappings = []ecstypes.PortMapping{{ContainerPort: aws.Int32(int32(port))}}
	in := task("worker", main)
	in.NetworkMode = ecstypes.NetworkModeHost
	s.createServiceWithSRV(s.CreateNamespace("corp"), in, 1)
	if mode := shared.MustCommand(t, "inspect", "-f", "{{.HostConfig.NetworkMode}}",
		id(s.running("worker")[0], "main")); mode != "host" {
		t.Errorf("the container's network is %s, want host", mode)
	}
	s.checkSRV("worker.corp", map[uint16]bool{uint16(port): true}, "/passwd")
}

// checkSRV checks that the SRV records of a name have the ports given, with an address of this machine at which the
// workers answer.
func (s *server) checkSRV(name string, ports map[uint16]bool, path string) {
	s.T.Helper()
	_, srvs, err := s.Resolver().LookupSRV(harness.ShortContext(s.T), "", "", name+".")
	if err != nil || len(srvs) != len(ports) {
		s.T.Fatalf("SRV of %s: %s, %v; want the ports %v", name, harness.AsJSON(srvs), err, ports)
	}
	local := map[netip.Addr]bool{}
	addrs := harness.Must(net.InterfaceAddrs())(s.T)
	for _, a := range addrs {
		local[netip.MustParsePrefix(a.String()).Addr()] = true
	}
	for _, srv := range srvs {
		if !ports[srv.Port] {
			s.T.Errorf("SRV has port %d, want one of %v", srv.Port, ports)
		}
		hosts := s.Lookup(strings.TrimSuffix(srv.Target, "."))
		if len(hosts) != 1 {
			s.T.Errorf("the answer for %s is %v, want one address", srv.Target, hosts)
		}
		for host := range hosts {
			if !local[host] || host.IsLoopback() {
				s.T.Errorf("%s is %v, want an address of this machine that is not loopback", srv.Target, host)
			}
			url := fmt.Sprintf("http://%v%s", netip.AddrPortFrom(host, srv.Port), path)
			harness.Eventually(s.T, time.Minute, "the worker answers at "+url, func() bool {
				resp, err := http.Get(url)
				if err != nil {
					return false
				}
				defer resp.Body.Close()
				io.Copy(io.Discard, resp.Body)
				return resp.StatusCode == http.StatusOK
			})
		}
	}
}

// TestNetworkModeNone checks that a task in network mode none has only the loopback interface.
func TestNetworkModeNone(t *testing.T) {
	t.Parallel()
	image := clientsImage(t)
	s := serve(t)
	in := task("alone", container("main", image, "sleep", "100000"))
	in.NetworkMode = ecstypes.NetworkModeNone
	alone := s.start(in)
	if links := shared.Exec(t, id(alone, "main"), "ls", "/sys/class/net"); links != "lo" {
		t.Errorf("the task has the interfaces %q, want lo", links)
	}
}
