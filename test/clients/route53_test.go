package clients

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"github.com/miekg/dns"

	"github.com/bakingclouds/rollcall/test/harness"
)

// TestHostedZone checks that the tasks of an ECS service are records of its namespace's hosted zone. The SDK and every
// AWS CLI must list the same records as DNS answers, with the same TTLs.
func TestHostedZone(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	ns := s.CreateNamespace("corp")
	registry := s.CreateCloudMapService(ns, "worker", 7, types.RecordTypeA, types.RecordTypeSrv)
	s.CreateECSService("worker", s.RegisterDefinition(harness.Worker(t, "worker", "")), 2, registry)
	s.WaitStable("worker")

	client := route53.NewFromConfig(s.AWSConfig())
	zones := harness.Must(client.ListHostedZones(t.Context(), nil))(t).HostedZones
	if len(zones) != 1 || *zones[0].Name != "corp." {
		t.Fatalf("the hosted zones are %s, want corp.", harness.AsJSON(zones))
	}
	listed := listRecordSets(s, client, *zones[0].Id)
	tasks := s.Tasks("worker", ecstypes.DesiredStatusRunning)
	if len(tasks) != 2 {
		t.Fatalf("the tasks are %s, want 2", harness.AsJSON(tasks))
	}
	for _, task := range tasks {
		for _, want := range []string{
			"worker.corp. 7 A " + harness.Address(task),
			harness.TaskID(task) + ".worker.corp. 7 A " + harness.Address(task),
		} {
			if !slices.Contains(listed, want) {
				t.Errorf("no record %s in\n%s", want, strings.Join(listed, "\n"))
			}
		}
	}
	if answered := queryRecords(s, listed); !slices.Equal(answered, listed) {
		t.Errorf("Route 53 lists\n%s\nand DNS answers\n%s", strings.Join(listed, "\n"), strings.Join(answered, "\n"))
	}

	checkGetByRawID(s, *zones[0].Id)
	eachCLI(t, func(t *testing.T, aws awsCLI) {
		t.Helper()
		u := newTerminal(t, s, aws)
		id := u.run("aws route53 list-hosted-zones-by-name --dns-name corp --query 'HostedZones[0].Id' --output text")
		got := u.run("aws route53 list-resource-record-sets --page-size 2 --output text --hosted-zone-id " + id +
			" --query \"ResourceRecordSets[?Name=='worker.corp.'&&Type=='A']" +
			".[SetIdentifier,ResourceRecords[0].Value]\"")
		var want []string
		for _, task := range tasks {
			want = append(want, harness.TaskID(task)+"\t"+harness.Address(task))
		}
		slices.Sort(want)
		if got != strings.Join(want, "\n") {
			t.Errorf("the CLI lists %q, want %q", got, want)
		}
		_, stderr, err := u.tryRun("aws route53 delete-hosted-zone --id " + id)
		if err == nil ||
			!strings.Contains(stderr,
				"(AccessDenied) when calling the DeleteHostedZone operation: The resource hostedzone/") {
			t.Errorf("delete-hosted-zone: %v, %s; want AccessDenied", err, stderr)
		}
	})
}

// checkGetByRawID reads a zone by the id that the API returned, including the prefix that SDKs remove.
func checkGetByRawID(s *harness.Server, id string) {
	s.T.Helper()
	for _, path := range []string{"/2013-04-01/hostedzone/" + id, "/2013-04-01/hostedzone/" + url.PathEscape(id)} {
		req := harness.Must(http.NewRequestWithContext(s.T.Context(), "GET", s.Info.API+path, nil))(s.T)
		const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // SHA-256 of an empty body
		credentials := harness.Must(s.AWSConfig().Credentials.Retrieve(s.T.Context()))(s.T)
		if err := v4.NewSigner().SignHTTP(s.T.Context(), credentials, req, emptyHash, "route53", "us-east-1",
			time.Now()); err != nil {
			s.T.Fatal(err)
		}
		resp := harness.Must(http.DefaultClient.Do(req))(s.T)
		body := harness.Must(io.ReadAll(resp.Body))(s.T)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK || !strings.Contains(string(body), "<Id>"+id+"</Id>") {
			s.T.Errorf("GET %s: %s %s", path, resp.Status, body)
		}
	}
}

// listRecordSets returns a zone's records as lines: name, TTL, type, value.
func listRecordSets(s *harness.Server, client *route53.Client, zone string) (listed []string) {
	s.T.Helper()
	for pages := route53.NewListResourceRecordSetsPaginator(client,
		&route53.ListResourceRecordSetsInput{HostedZoneId: &zone}); pages.HasMorePages(); {
		for _, set := range harness.Must(pages.NextPage(s.T.Context()))(s.T).ResourceRecordSets {
			for _, r := range set.ResourceRecords {
				listed = append(listed, fmt.Sprint(*set.Name, " ", *set.TTL, " ", set.Type, " ", *r.Value))
			}
		}
	}
	slices.Sort(listed)
	return listed
}

// queryRecords queries DNS for the names and types in lines, and returns the answers in the same form.
func queryRecords(s *harness.Server, lines []string) (answered []string) {
	s.T.Helper()
	for _, line := range lines {
		words := strings.Fields(line)
		reply := harness.Must(s.QueryDNS(words[0], dns.StringToType[words[2]]))(s.T)
		for _, rr := range reply.Answer {
			answered = append(answered, strings.Replace(strings.ReplaceAll(rr.String(), "\t", " "), " IN ", " ", 1))
		}
	}
	slices.Sort(answered)
	return slices.Compact(answered)
}
