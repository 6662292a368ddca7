package docker

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"github.com/miekg/dns"

	"github.com/bakingclouds/rollcall/test/harness"
)

// programs are the commands that resolve a name, each with another library. For each of its arguments a command prints
// "MILLISECONDS NAME ADDRESS…".
var programs = map[string][]string{
	"musl":   {"/opt/lookup/musl"},
	"go":     {"/opt/lookup/go"},
	"python": {"python3", "/opt/lookup/lookup.py"},
	"jvm":    {"java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", "/opt/lookup", "Lookup"},
}

// startUpstream starts the resolver for names that are not Rollcall's. It has one record: A 192.0.2.33 for
// outside.example.
func startUpstream(t testing.TB) (address string) {
	t.Helper()
	conn := harness.Must(net.ListenPacket("udp", "127.0.0.1:0"))(t)
	srv := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		reply := new(dns.Msg).SetReply(q)
		switch question := q.Question[0]; {
		case question.Name != "outside.example.":
			reply.Rcode = dns.RcodeNameError
		case question.Qtype == dns.TypeA:
			reply.Answer = append(reply.Answer, &dns.A{Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA,
				Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(192, 0, 2, 33)})
		}
		w.WriteMsg(reply)
	})}
	started := make(chan struct{})
	srv.NotifyStartedFunc = func() { close(started) }
	go srv.ActivateAndServe()
	<-started
	t.Cleanup(func() { srv.Shutdown() })
	return conn.LocalAddr().String()
}

// lookup returns the addresses that a program in a container finds for a name, sorted, and the time that it took.
func (s *server) lookup(container, program, name string) (found []string, took time.Duration) {
	s.T.Helper()
	for range 3 { // on a busy machine a packet may be lost
		watch := harness.StartStopwatch()
		out := s.engine.Exec(s.T, container, append(slices.Clone(programs[program]), name)...)
		fields := strings.Fields(out)
		ms, err := strconv.Atoi(fields[0])
		if err != nil || len(fields) < 2 || fields[1] != name {
			s.T.Fatalf("%s prints %q", program, out)
		}
		found = fields[2:]
		took = min(time.Duration(ms)*time.Millisecond, watch.Unstalled())
		slices.Sort(found)
		if took <= quickly {
			break
		}
	}
	return slices.Compact(found), took
}

// quickly is shorter than the five seconds after which resolvers repeat a query.
const quickly = 4500 * time.Millisecond

// TestNameResolution checks that programs in a container resolve the names of services, and other names, without any
// setting.
func TestNameResolution(t *testing.T) {
	t.Parallel()
	image := clientsImage(t)
	s := serve(t, "--upstream", startUpstream(t))
	corp := s.CreateNamespace("corp")
	s.CreateECSService("worker", s.RegisterDefinition(unchecked("worker")), 2,
		s.CreateCloudMapService(corp, "worker", 5))
	asker := s.start(task("asker", container("main", image, "sleep", "100000")))
	s.WaitStable("worker")
	c := id(asker, "main")
	var workers []string
	for _, w := range s.running("worker") {
		workers = append(workers, address(w).String())
	}
	slices.Sort(workers)

	t.Run("programs", func(t *testing.T) {
		for program := range programs {
			t.Run(program, func(t *testing.T) {
				t.Parallel()
				for _, tc := range []struct {
					name string
					want []string // if nil, the name does not exist
				}{
					{"worker.corp", workers}, // programs ask for AAAA too, which does not exist
					{"outside.example", []string{"192.0.2.33"}},
					{"missing.corp", nil},
					{"missing.example", nil},
				} {
					found, took := s.withT(t).lookup(c, program, tc.name)
					if tc.want == nil {
						found = slices.DeleteFunc(found, func(word string) bool {
							_, err := netip.ParseAddr(word)
							return err != nil
						})
					}
					if !slices.Equal(found, tc.want) && len(found)+len(tc.want) > 0 {
						t.Errorf("%s returns %q for %s, want %q", program, found, tc.name, tc.want)
					}
					if took > quickly {
						t.Errorf("%s took %v for %s", program, took, tc.name)
					}
				}
			})
		}
		t.Run("getent", func(t *testing.T) {
			t.Parallel()
			watch := harness.StartStopwatch()
			out := shared.Exec(t, c, "sh", "-c",
				"date +%s; getent ahosts worker.corp; getent ahostsv6 worker.corp; date +%s")
			for _, w := range workers {
				if !strings.Contains(out, w+" ") {
					t.Errorf("getent does not print %s:\n%s", w, out)
				}
			}
			// A family without addresses gets an immediate answer without records, so that getent does not wait.
			lines := strings.Split(out, "\n")
			from, _ := strconv.ParseInt(lines[0], 10, 64)
			to, _ := strconv.ParseInt(lines[len(lines)-1], 10, 64)
			if took := min(time.Duration(to-from)*time.Second, watch.Unstalled()); took > quickly || to == 0 {
				t.Errorf("two runs of getent took %v:\n%s", took, out)
			}
		})
	})

	// The only nameserver is the task's resolver, not Docker's.
	if conf := shared.Exec(t, c, "cat", "/etc/resolv.conf"); strings.Count(conf, "nameserver") != 1 ||
		strings.Contains(conf, "127.0.0.11") {
		t.Errorf("resolv.conf is\n%s", conf)
	}
}

// withT returns the server for use in a subtest.
func (s *server) withT(t testing.TB) *server {
	t.Helper()
	c := *s.Server
	c.T = t
	return &server{&c, s.engine, s.flags}
}

// TestNginxFollowsService runs nginx as a proxy of a service. It must follow the service with its own resolver, which
// it asks for each request, and find it at its start with the C library.
func TestNginxFollowsService(t *testing.T) {
	t.Parallel()
	image := clientsImage(t)
	s := serve(t)
	corp := s.CreateNamespace("corp")
	s.CreateECSService("worker", s.RegisterDefinition(sample("worker", "flask-worker")), 1,
		s.CreateCloudMapService(corp, "worker", 1))
	s.WaitStable("worker")
	old := s.running("worker")[0]
	// Without the dot after worker.corp in /once/, nginx would reuse that address for /now/.
	const conf = `user root; error_log stderr; pid /tmp/nginx.pid; events {} http { access_log off;
		resolver NS valid=1s; server { listen 8080;
		location /now/ { set $to worker.corp; rewrite /now/(.*) /$1 break; proxy_pass http://$to:5000; }
		location /once/ { proxy_pass http://worker.corp.:5000/; } } }`
	script := `sed "s/NS/$(sed -n 's/^nameserver //p' /etc/resolv.conf)/" <<'END' >/tmp/nginx.conf
` + conf + `
END
exec nginx -c /tmp/nginx.conf -g 'daemon off;'`
	proxy := s.start(task("proxy", container("main", image, "sh", "-c", script)))
	get := func(path string) (status int, text string) {
		resp, err := (&http.Client{Timeout: 20 * time.Second}).Get("http://" +
			net.JoinHostPort(address(proxy).String(), "8080") + path)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	for _, path := range []string{"/now/work?n=10", "/once/work?n=10"} {
		var text string
		harness.Eventually(t, time.Minute, "nginx proxies "+path, func() bool {
			var status int
			status, text = get(path)
			return status == http.StatusOK
		})
		if !strings.Contains(text, "primes") {
			t.Errorf("%s returns %q", path, text)
		}
	}
	harness.Must(s.ECS().UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("worker"),
		ForceNewDeployment: true}))(t)
	s.waitReplaced("worker", "worker.corp", 1, old)
	s.waitStopped(old)
	for range 5 {
		if status, text := get("/now/work?n=10"); status != http.StatusOK {
			t.Fatalf("after a deployment nginx returns %d: %s", status, text)
		}
	}
}

// TestVPCsWithTheSameName creates namespaces of the same name in two VPCs. DNS must answer a task with the service of
// the VPC that the task is in.
func TestVPCsWithTheSameName(t *testing.T) {
	t.Parallel()
	image := clientsImage(t)
	s := serve(t, "--vpc", "vpc-a=10.214.0.0/16,subnet-a", "--vpc", "vpc-b=10.215.0.0/16,subnet-b")
	networks := map[string]netip.Prefix{
		"a": netip.MustParsePrefix("10.214.0.0/16"), "b": netip.MustParsePrefix("10.215.0.0/16")}
	askers, want := map[string]ecstypes.Task{}, map[string]string{}
	for _, vpc := range []string{"a", "b"} {
		registry := s.CreateCloudMapService(s.CreateNamespaceIn("corp", "vpc-"+vpc), "worker", 5)
		for family, in := range map[string]*ecs.RegisterTaskDefinitionInput{
			"worker-" + vpc: unchecked("worker-" + vpc), "asker-" + vpc: task("asker-"+vpc,
				container("main", image, "sleep", "100000")),
		} {
			s.RegisterDefinition(in)
			create := &ecs.CreateServiceInput{
				ServiceName: &family, TaskDefinition: &family, DesiredCount: aws.Int32(1),
				NetworkConfiguration: &ecstypes.NetworkConfiguration{
					AwsvpcConfiguration: &ecstypes.AwsVpcConfiguration{Subnets: []string{"subnet-" + vpc}}},
			}
			if strings.HasPrefix(family, "worker") {
				create.ServiceRegistries = []ecstypes.ServiceRegistry{{RegistryArn: registry.Arn}}
			}
			harness.Must(s.ECS().CreateService(t.Context(), create))(t)
		}
	}
	for _, vpc := range []string{"a", "b"} {
		s.WaitStable("worker-" + vpc)
		s.WaitStable("asker-" + vpc)
		askers[vpc], want[vpc] = s.running("asker-" + vpc)[0], address(s.running("worker-" + vpc)[0]).String()
	}
	for vpc, asker := range askers {
		found, _ := s.lookup(id(asker, "main"), "python", "worker.corp")
		if !slices.Equal(found, []string{want[vpc]}) {
			t.Errorf("in vpc-%s worker.corp resolves to %q, want %s", vpc, found, want[vpc])
		}
		if !networks[vpc].Contains(address(asker)) {
			t.Errorf("the task in vpc-%s has the address %v, want one in %v", vpc, address(asker), networks[vpc])
		}
	}
}

// TestDualStack runs tasks in a VPC with an IPv6 network. They must have addresses of both families, and DNS must
// answer with both.
func TestDualStack(t *testing.T) {
	t.Parallel()
	image := clientsImage(t)
	s := serve(t, "--vpc", "vpc-local=10.216.0.0/16,fd00:216::/48,subnet-local")
	registry := s.CreateCloudMapService(s.CreateNamespace("corp"), "worker", 5, sdtypes.RecordTypeA,
		sdtypes.RecordTypeAaaa)
	worker := container("main", image, "busybox", "httpd", "-f", "-p", "5000", "-h", "/etc") // listens on both families
	worker.PortMappings = []ecstypes.PortMapping{{ContainerPort: aws.Int32(5000)}}
	s.CreateECSService("worker", s.RegisterDefinition(task("worker", worker)), 1, registry)
	asker := s.start(task("asker", container("main", image, "sleep", "100000")))
	s.WaitStable("worker")
	serving := s.running("worker")[0]
	six := ""
	for _, i := range serving.Containers[0].NetworkInterfaces {
		six = aws.ToString(i.Ipv6Address)
	}
	want := []string{address(serving).String(), six}
	slices.Sort(want)
	for program := range programs {
		found, took := s.lookup(id(asker, "main"), program, "worker.corp")
		for i, word := range found { // the JVM prints IPv6 addresses in full
			if a, err := netip.ParseAddr(word); err == nil {
				found[i] = a.String()
			}
		}
		if slices.Sort(found); !slices.Equal(found, want) || took > quickly {
			t.Errorf("%s returns %q within %v, want %q", program, found, took, want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	found, err := s.Resolver().LookupNetIP(ctx, "ip6", "worker.corp.")
	if err != nil || len(found) != 1 || found[0].String() != six {
		t.Errorf("the AAAA record is %v, %v, want %s", found, err, six)
	}
	for _, a := range want {
		s.engine.Exec(t, id(asker, "main"), "busybox", "wget", "-q", "-O", "-",
			"http://"+net.JoinHostPort(a, "5000")+"/hostname")
	}
}
