package repo

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/bakingclouds/rollcall/test/harness/source"
)

// acceptance lists what a replacement of Cloud Map must do, and the tests that check it. Where Rollcall differs on
// purpose, a document describes the difference.
var acceptance = []struct {
	requirement string
	difference  string   // the document that describes it, if there is one
	tests       []string // package and test
}{
	{"every operation by botocore and the CLI, Discover with and without the host prefix", "", []string{
		"test/clients.TestBoto3Operations",
		"test/clients.TestAWSCLI",
		"test/clients.TestHostPrefix",
		"internal/api/cloudmap.TestTranscript",
	}},
	{"errors are named exceptions with their extra members", "", []string{
		"test/clients.TestBoto3Operations",
		"internal/api/cloudmap.TestErrors",
		"internal/api/cloudmap.TestIdempotency",
		"internal/api/awsapi.TestSDKReceivesErrors",
	}},
	{"an operation's id ends in its CreateDate; timestamps are numbers", "", []string{
		"test/clients.TestBoto3Operations",
		"internal/api/cloudmap.TestTranscript",
	}},
	{"namespaces of the three kinds, with HttpName and a zone that Route 53 shows", "", []string{
		"internal/api/cloudmap.TestGetNamespace",
		"internal/api/route53.TestGetHostedZone",
		"internal/api/route53.TestListHostedZones",
	}},
	{"one name in two VPCs; one name twice in a VPC; a name below another", "", []string{
		"internal/registry.TestNamespaceNames",
		"internal/api/cloudmap.TestDiscoverNames",
		"internal/api/cloudmap.TestModel",
	}},
	{"every combination of records; every invalid service and attribute", "", []string{
		"internal/api/cloudmap.TestErrors",
		"internal/api/cloudmap.TestModel",
		"internal/api/cloudmap.TestLimits",
		"internal/registry.TestAttributes",
	}},
	{"1, 8, 8 and 8 records for 1, 8, 9 and 1000 instances, in any order", "", []string{
		"internal/dns/answer.TestAnswerSize",
		"internal/dns/answer.TestUniform",
		"internal/dns/answer.TestDeterministic",
	}},
	{"weighted: one record, each instance as often as another", "", []string{
		"internal/dns/answer.TestAnswerSize",
		"internal/dns/answer.TestUniform",
	}},
	{"all unhealthy: DNS answers all, HEALTHY nothing, HEALTHY_OR_ELSE_ALL all", "", []string{
		"internal/api/cloudmap.TestCustomHealth",
		"internal/api/cloudmap.TestDiscover",
		"internal/api/cloudmap.TestModel",
		"internal/dns/answer.TestScripts",
		"internal/dns/answer.TestUniform",
	}},
	{"SRV records, the addresses of their targets, instance ids of all kinds", "", []string{
		"internal/registry.TestNames",
		"internal/api/cloudmap.FuzzNames",
		"internal/api/cloudmap.TestModel",
		"internal/dns/answer.TestScripts",
	}},
	{"NXDOMAIN, no data, empty non-terminals; the negative TTL follows the namespace", "docs/compat/dns.md", []string{
		"internal/dns/answer.TestScripts",
		"internal/api/cloudmap.TestUpdateNamespace",
		"internal/api/cloudmap.TestModel",
	}},
	{"after the last deregistration DNS answers without it immediately, and service and namespace can be deleted",
		"docs/compat/dns.md", []string{
			"test/promises.TestAcknowledgedIsVisible",
			"test/clients.TestTerraformCloudMap",
			"test/clients.TestExternalDNS",
			"internal/api/cloudmap.TestModel",
		}},
	{"a new TTL applies to existing records; an update without a health check removes it", "", []string{
		"test/clients.TestTerraformCloudMap",
		"test/clients.TestExternalDNS",
		"internal/api/cloudmap.TestUpdateService",
		"internal/api/cloudmap.TestModel",
	}},
	{"custom health: services without it, the first status, changes", "docs/compat/cloud-map.md", []string{
		"internal/api/cloudmap.TestCustomHealth",
		"internal/api/cloudmap.TestErrors",
		"internal/api/cloudmap.TestModel",
	}},
	{"pages of one item while items are created and deleted", "", []string{
		"internal/api/cloudmap.TestPaging",
		"internal/api/cloudmap.TestForeignTokens",
		"internal/api/cloudmap.TestSlowClient",
		"internal/api/paging.TestPages",
		"internal/api/paging.FuzzAfter",
	}},
	{"Discover: query and optional parameters, truncation, a revision that only registrations change", "", []string{
		"internal/api/cloudmap.TestDiscover",
		"internal/api/cloudmap.TestDiscoverMaxResults",
		"internal/api/cloudmap.TestRevision",
		"internal/api/cloudmap.TestModel",
		"test/clients.TestRevisionPoller",
	}},
	{"50 tags, not 51; tags of deleted resources", "", []string{
		"internal/api/cloudmap.TestTags",
		"internal/api/cloudmap.TestLimits",
	}},
	{"changes of a namespace's zone are rejected", "docs/compat/route53.md", []string{
		"test/clients.TestHostedZone",
		"internal/api/route53.TestErrors",
	}},
	{"record sets in Route 53's order, page by page", "", []string{
		"internal/api/route53.TestSortKey",
		"internal/api/route53.TestRecordSets",
		"internal/api/route53.TestPages",
		"internal/api/route53.TestStartAtEachRecordSet",
	}},
	{"Terraform's five resources; external-dns", "", []string{
		"test/clients.TestTerraformCloudMap",
		"test/clients.TestExternalDNS",
		"test/clients.TestExternalDNSLoadBalancer",
	}},
	{"concurrent calls have an order; no answer shows half of a change", "docs/compat/cloud-map.md", []string{
		"internal/api/cloudmap.TestLinearizable",
		"test/promises.TestConflictingWrites",
		"test/promises.TestOneTruth",
	}},
	{"a restart between two calls; the revision never decreases", "", []string{
		"test/promises.TestOperationsSurviveKill",
		"test/promises.TestKillDuringWrites",
		"internal/api/cloudmap.TestRevision",
	}},
}

// TestAcceptanceTable checks that the table names only tests and documents that exist.
func TestAcceptanceTable(t *testing.T) {
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	exists := map[string]bool{} // by package and test
	for _, file := range source.Files(t) {
		if !strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, _ := source.ReadText(t, file)
		for _, m := range declared.FindAllStringSubmatch(text, -1) {
			exists[path.Dir(file)+"."+m[1]] = true
		}
	}
	for _, row := range acceptance {
		for _, test := range row.tests {
			if !exists[test] {
				t.Errorf("%s: the test %s does not exist", row.requirement, test)
			}
		}
		if row.difference != "" {
			if _, err := os.Stat(filepath.Join(source.Root(), row.difference)); err != nil {
				t.Errorf("%s: %v", row.requirement, err)
			}
		}
	}
}
