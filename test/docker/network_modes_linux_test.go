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

// onHost runs a service whose tasks have no address of their own, with an SRV record.
func (s *server) onHost(corp string, in *ecs.RegisterTaskDefinitionInput, count int32) {
	s.T.Helper()
	registry := s.CreateCloudMapService(corp, *in.Family, 5, sdtypes.RecordTypeSrv)
	definition := s.RegisterDefinition(in)
	harness.Must(s.ECS().CreateService(s.T.Context(), &ecs.CreateServiceInput{
		ServiceName: in.Family, TaskDefinition: &definition, DesiredCount: &count,
		ServiceRegistries: []ecstypes.ServiceRegistry{{
			RegistryArn: registry.Arn, ContainerName: aws.String("main"), ContainerPort: in.ContainerDefinitions[0].PortMappings[0].ContainerPort,
		}},
	}))(s.T)
	s.WaitStable(*in.Family)
}

// TestBridge: tasks whose ports are the host's are found by SRV: the port that each has got, at the host's address.
func TestBridge(t *testing.T) {
	t.Parallel()
	harness.RequireEngine(t)
	s := serve(t)
	corp := s.CreateNamespace("corp")
	in := unchecked("worker")
	in.NetworkMode = ecstypes.NetworkModeBridge
	s.onHost(corp, in, 2)
	want := map[uint16]bool{}
	for _, task := range s.running("worker") {
		bindings := task.Containers[0].NetworkBindings
		if len(bindings) != 1 || aws.ToInt32(bindings[0].ContainerPort) != 5000 {
			t.Fatalf("the task's ports are %s", harness.AsJSON(bindings))
		}
		want[uint16(*bindings[0].HostPort)] = true
	}
	s.found("worker.corp", want, "/work?n=10")
}

// TestHostMode: a task on the host's own network has its own port there.
func TestHostMode(t *testing.T) {
	t.Parallel()
	image := clients(t)
	s := serve(t)
	free := harness.Must(net.Listen("tcp", "127.0.0.1:0"))(t)
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	main := container("main", image, "busybox", "httpd", "-f", "-p", strconv.Itoa(port), "-h", "/etc")
	main.PortMappings = []ecstypes.PortMapping{{ContainerPort: aws.Int32(int32(port))}}
	in := task("worker", main)
	in.NetworkMode = ecstypes.NetworkModeHost
	s.onHost(s.CreateNamespace("corp"), in, 1)
	if mode := shared.MustCommand(t, "inspect", "-f", "{{.HostConfig.NetworkMode}}", id(s.running("worker")[0], "main")); mode != "host" {
		t.Errorf("the container's network is %s", mode)
	}
	s.found("worker.corp", map[uint16]bool{uint16(port): true}, "/passwd")
}

// found holds that a name's SRV records have these ports, at an address of this machine, where the workers answer.
func (s *server) found(name string, ports map[uint16]bool, path string) {
	s.T.Helper()
	_, srvs, err := s.Resolver().LookupSRV(harness.ShortContext(s.T), "", "", name+".")
	if err != nil || len(srvs) != len(ports) {
		s.T.Fatalf("SRV of %s: %s, %v; want the ports %v", name, harness.AsJSON(srvs), err, ports)
	}
	mine := map[netip.Addr]bool{}
	addrs := harness.Must(net.InterfaceAddrs())(s.T)
	for _, a := range addrs {
		mine[netip.MustParsePrefix(a.String()).Addr()] = true
	}
	for _, srv := range srvs {
		if !ports[srv.Port] {
			s.T.Errorf("SRV names port %d, want one of %v", srv.Port, ports)
		}
		hosts := s.Lookup(strings.TrimSuffix(srv.Target, "."))
		if len(hosts) != 1 {
			s.T.Errorf("%s is answered %v", srv.Target, hosts)
		}
		for host := range hosts {
			if !mine[host] || host.IsLoopback() {
				s.T.Errorf("%s is %v, not an address of this machine for others", srv.Target, host)
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

// TestNoNetwork: a task in mode none has nothing but loopback.
func TestNoNetwork(t *testing.T) {
	t.Parallel()
	image := clients(t)
	s := serve(t)
	in := task("alone", container("main", image, "sleep", "100000"))
	in.NetworkMode = ecstypes.NetworkModeNone
	alone := s.start(in)
	if links := shared.Exec(t, id(alone, "main"), "ls", "/sys/class/net"); links != "lo" {
		t.Errorf("the task has the interfaces %q", links)
	}
}
