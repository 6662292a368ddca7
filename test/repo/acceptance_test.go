package repo

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/bakingclouds/rollcall/test/harness/source"
)

// acceptance says which tests hold what a replacement of Cloud Map has to do to be accepted. Where Rollcall does
// otherwise on purpose, the document of the last column says so.
var acceptance = []struct{ what, tests, instead string }{ // tests: a folder and its tests; the next folder
	{"every operation by botocore and the CLI, Discover with and without the host prefix",
		"test/clients TestBoto3Operations TestAWSCLI TestHostPrefix; internal/api/cloudmap TestWire", ""},
	{"errors are named exceptions with their extra members",
		"test/clients TestBoto3Operations; internal/api/cloudmap TestErrors TestIdempotency; internal/api/awsapi TestErrorsArrive", ""},
	{"an operation's id ends in its CreateDate; timestamps are numbers",
		"test/clients TestBoto3Operations; internal/api/cloudmap TestWire", ""},
	{"namespaces of the three kinds, with HttpName and a zone that Route 53 shows",
		"internal/api/cloudmap TestNamespaceShapes; internal/api/route53 TestGetHostedZone TestListHostedZones", ""},
	{"one name in two VPCs; one name twice in a VPC; a name below another",
		"internal/registry TestNamespaceNames; internal/api/cloudmap TestDiscoverNames TestModel", ""},
	{"every combination of records; every refusal of services and attributes",
		"internal/api/cloudmap TestErrors TestModel TestLimits; internal/registry TestAttributes", ""},
	{"1, 8, 8 and 8 answers of 1, 8, 9 and 1000 instances, in any order",
		"internal/dns/answer TestHowMany TestUniform TestSameWordSameAnswer", ""},
	{"weighted: one answer, each as often as another", "internal/dns/answer TestHowMany TestUniform", ""},
	{"all unhealthy: DNS answers all, HEALTHY nothing, HEALTHY_OR_ELSE_ALL all",
		"internal/api/cloudmap TestCustomHealth TestDiscover TestModel; internal/dns/answer TestScripts TestUniform", ""},
	{"SRV records, the addresses of their targets, instance ids of all kinds",
		"internal/registry TestNames; internal/api/cloudmap FuzzNames TestModel; internal/dns/answer TestScripts", ""},
	{"NXDOMAIN, no data, empty non-terminals; the negative TTL follows the namespace",
		"internal/dns/answer TestScripts; internal/api/cloudmap TestUpdateNamespace TestModel", "docs/compat/dns.md"},
	{"the last instance goes: DNS says so at once, service and namespace can go",
		"test/promises TestAcknowledgedIsVisible; test/clients TestTerraformCloudMap TestExternalDNS; internal/api/cloudmap TestModel", "docs/compat/dns.md"},
	{"a new TTL is that of live records; a health check goes when it is left out",
		"test/clients TestTerraformCloudMap TestExternalDNS; internal/api/cloudmap TestUpdateService TestModel", ""},
	{"custom health: who has none, the first status, changes",
		"internal/api/cloudmap TestCustomHealth TestErrors TestModel", "docs/compat/cloud-map.md"},
	{"paging one by one while things come and go",
		"internal/api/cloudmap TestPaging TestForeignTokens TestSlowClient; internal/api/paging TestPages FuzzAfter", ""},
	{"Discover: query and optional parameters, the cut, a revision that only registrations move",
		"internal/api/cloudmap TestDiscover TestDiscoverCut TestRevision TestModel; test/clients TestRevisionPoller", ""},
	{"50 tags, not 51; tags of what is gone", "internal/api/cloudmap TestTags TestLimits", ""},
	{"changes of a namespace's zone are refused", "test/clients TestHostedZone; internal/api/route53 TestErrors", "docs/compat/route53.md"},
	{"record sets in Route 53's order, page by page", "internal/api/route53 TestSortKey TestRecordSets TestPages TestStartAtEach", ""},
	{"Terraform's five resources; external-dns", "test/clients TestTerraformCloudMap TestExternalDNS TestExternalDNSLoadBalancer", ""},
	{"calls at once have an order; nothing is torn", "internal/api/cloudmap TestLinearizable; test/promises TestConflictingWrites TestOneTruth", "docs/compat/cloud-map.md"},
	{"a restart in the middle; the revision never falls",
		"test/promises TestOperationsSurviveKill TestKillDuringWrites; internal/api/cloudmap TestRevision", ""},
}

// TestAcceptanceTable holds that the table above names tests and documents that there are.
func TestAcceptanceTable(t *testing.T) {
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	in := map[string]map[string]bool{} // folder, test
	for _, file := range source.Files(t) {
		if !strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(filepath.Join(source.Root(), file))
		if err != nil {
			t.Fatal(err)
		}
		folder := filepath.ToSlash(filepath.Dir(file))
		for _, m := range declared.FindAllStringSubmatch(string(source), -1) {
			if in[folder] == nil {
				in[folder] = map[string]bool{}
			}
			in[folder][m[1]] = true
		}
	}
	for _, row := range acceptance {
		for folder := range strings.SplitSeq(row.tests, "; ") {
			words := strings.Fields(folder)
			for _, name := range words[1:] {
				if !in[words[0]][name] {
					t.Errorf("%s: there is no %s in %s", row.what, name, words[0])
				}
			}
		}
		if row.instead != "" {
			if _, err := os.Stat(filepath.Join(source.Root(), row.instead)); err != nil {
				t.Errorf("%s: %v", row.what, err)
			}
		}
	}
}
