package test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// layers draws the packages from the top to the bottom. A package imports only packages of lower layers, and
// folders above or below it of the same entry (agent/process and agent). So the entries of one layer do not know
// each other, nor do two packages below one entry.
//
// An entry stands for its folder and all below that have no entry of their own.
var layers = [][]string{
	{"test", "bench"},
	{"cmd/rollcall"},
	{"internal/cli"},
	{"internal/app", "internal/demo", "internal/sample"},
	{"internal/console"},
	{"internal/api", "internal/control", "internal/agent/process", "internal/agent/docker", "internal/dns/server"},
	{"internal/agent", "internal/dns/dnstest", "internal/api/ecs/render"},
	{"internal/api/ecs/servicespec"},
	{"internal/api/ecs/taskdef"},
	{"internal/api/ecs/codec", "internal/api/ecs/identifier"},
	{"internal/api/ecs/ecserr", "internal/api/ecs/overlay"},
	{"internal/api/awsapi", "internal/api/paging", "internal/control/loop"},
	{"internal/dns/answer", "internal/dns/forward", "internal/placement"},
	{"internal/registry", "internal/task", "internal/zone", "internal/loggroup"},
	{"internal/store"},
	{"internal/store/etcd"},
	{"internal/directory"},
	{"internal/dns/wire"},
	{"internal/dns/name", "internal/dns/dnsname"},
	{"internal/arn", "internal/attributes"},
	{"internal/fault", "internal/portowner", "internal/engineopts", "internal/atomicfile", "internal/clusterquery", "internal/containerlog", "examples"},
}

// bans are the arrows that point down and are still wrong.
var bans = []struct{ from, to, why string }{
	{"internal/dns", "internal/store", "an answer comes from the directory in memory, never from a round trip"},
	{"internal/dns", "internal/registry", "control/publish brings rows to the directory; DNS knows only the directory"},
	{"internal/dns", "internal/task", "control/publish brings rows to the directory; DNS knows only the directory"},
	{"internal/dns", "internal/zone", "control/publish brings rows to the directory; DNS knows only the directory"},
	{"internal/dns", "internal/api", "DNS and the APIs meet in the directory"},
	{"internal/dns", "internal/agent", "DNS and the agent meet in the directory"},
	{"internal/dns", "internal/control", "loops bring changes to the directory; DNS waits for none of them"},
	{"internal/control", "internal/api", "loops and APIs meet in rows"},
	{"internal/control", "internal/agent", "loops and agents meet in rows"},
	{"internal/agent", "internal/api", "agents and APIs meet in rows"},
	{"internal/api", "internal/agent", "agents and APIs meet in rows"},
	{"internal/api", "internal/control", "loops and APIs meet in rows"},
	{"internal/console", "internal/store", "every page reads what the API reads"},
	{"internal/console", "internal/control", "every page reads what the API reads"},
	{"internal/console", "internal/agent", "every page reads what the API reads"},
	{"internal/control/loop", "internal/registry", "the runner knows keys, not what they mean"},
	{"internal/control/loop", "internal/task", "the runner knows keys, not what they mean"},
	{"internal/control/loop", "internal/zone", "the runner knows keys, not what they mean"},
	{"internal/agent/process", "internal/store", "a runtime runs containers; the agent knows the rows"},
	{"internal/agent/docker", "internal/store", "a runtime runs containers; the agent knows the rows"},
	{"internal/demo", "internal/store", "the demo does what any user could do, through the API"},
	{"internal/demo", "internal/registry", "the demo does what any user could do, through the API"},
	{"internal/demo", "internal/task", "the demo does what any user could do, through the API"},
	{"internal/demo", "internal/agent", "the demo does what any user could do, through the API"},
	{"internal/sample", "internal", "the samples are services like any user's, and know only their environment"},
}

// reserved are the modules that a few packages keep to themselves, so that each can be exchanged there. Tests
// use them freely, as real clients and servers of the protocols.
var reserved = []struct {
	module string
	to     []string
	why    string
}{
	{"github.com/aws", []string{"internal/api", "internal/demo"}, "AWS shapes stay at the edge; inside are our own nouns"},
	{"go.etcd.io", []string{"internal/store"}, "etcd is the store's affair"},
	{"github.com/miekg/dns", []string{"internal/dns"}, "the DNS library must remain exchangeable"},
	{"github.com/spf13/cobra", []string{"internal/cli", "cmd"}, "commands end at the command line"},
	{"go.uber.org/zap", []string{"internal/store/etcd"}, "Rollcall logs by log/slog; only etcd asks for zap"},
	{"net/http", []string{"internal/api", "internal/console", "internal/app", "internal/cli", "internal/demo", "internal/sample",
		"internal/agent/docker", "internal/agent/metadata", "internal/control/probe"}, "HTTP is spoken at the edge"},
}

// objection says why the package from must not import to, or is empty. Both are paths without the module's.
func objection(from, to string) string {
	top := within(from, "test") || within(from, "bench") || within(from, "examples")
	for _, r := range reserved {
		mine := func(dir string) bool { return within(from, dir) }
		if within(to, r.module) && !top && !slices.ContainsFunc(r.to, mine) {
			return fmt.Sprintf("only %s may: %s", strings.Join(r.to, ", "), r.why)
		}
	}
	toLayer, toEntry := layerOf(to)
	if toEntry == "" {
		return "" // the standard library, or a module that is free
	}
	for _, ban := range bans {
		if within(from, ban.from) && within(to, ban.to) && !within(to, ban.from) {
			return ban.why
		}
	}
	fromLayer, fromEntry := layerOf(from)
	switch {
	case fromEntry == "":
		return "the importing package stands in no layer: give it a place in the layers of this test and in docs/architecture.md"
	case fromLayer < toLayer:
		return ""
	case fromEntry == toEntry && (within(from, to) || within(to, from)):
		return ""
	case fromLayer == toLayer:
		return "siblings do not know each other; they meet in rows or in what lies below both"
	}
	return "arrows point down, and it stands above"
}

// layerOf finds a package's place: the number of its layer from the top, and the entry that it stands under,
// which is empty for a package that has no place.
func layerOf(pkg string) (layer int, entry string) {
	for i, entries := range layers {
		for _, e := range entries {
			if within(pkg, e) && len(e) > len(entry) {
				layer, entry = i, e
			}
		}
	}
	return layer, entry
}

// isTestHelper recognises packages that exist for tests, by the field's custom: storetest, dnstest.
func isTestHelper(pkg string) bool {
	return strings.HasPrefix(pkg, "internal/") && strings.HasSuffix(pkg, "test")
}

// TestArrows keeps imports pointing down. Test files may import what they like, as far as go lets them.
func TestArrows(t *testing.T) {
	for _, file := range goFiles(t) {
		if file.test {
			continue
		}
		for _, imported := range file.imports {
			if isTestHelper(file.pkg) && !strings.HasPrefix(imported, "internal/") {
				continue // a helper may use the libraries that its tests use
			}
			if why := objection(file.pkg, imported); why != "" {
				t.Errorf("%s imports %s: %s", file.pkg, imported, why)
			}
			if isTestHelper(imported) && !isTestHelper(file.pkg) && !within(file.pkg, "bench") {
				t.Errorf("%s imports %s: what is made for tests stays out of the binary", file.pkg, imported)
			}
		}
	}
}

// TestEveryPackageHasALayer keeps the drawing whole.
func TestEveryPackageHasALayer(t *testing.T) {
	var packages []string
	for _, file := range goFiles(t) {
		packages = append(packages, file.pkg)
	}
	slices.Sort(packages)
	for _, pkg := range slices.Compact(packages) {
		if _, entry := layerOf(pkg); entry == "" {
			t.Errorf("%s stands in no layer: give it a place in the layers of this test and in docs/architecture.md", pkg)
		}
	}
}

// TestObjection checks the rules on arrows that nobody should draw, and on some that everybody does.
func TestObjection(t *testing.T) {
	for _, tc := range []struct{ from, to, want string }{ // want: part of the objection; empty when there is none
		{"cmd/rollcall", "internal/cli", ""},
		{"internal/app", "internal/agent/process", ""},
		{"internal/agent/process", "internal/agent", ""},
		{"internal/api/ecs", "internal/api/awsapi", ""},
		{"internal/api/cloudmap", "internal/directory", ""},
		{"internal/control/rollout", "internal/control/loop", ""},
		{"internal/control/publish", "internal/directory", ""},
		{"internal/dns/server", "internal/dns/answer", ""},
		{"internal/store/storetest", "internal/store", ""},
		{"internal/registry", "github.com/google/uuid", ""},
		{"internal/api/ecs", "github.com/aws/aws-sdk-go-v2/service/ecs", ""},
		{"bench/discover", "github.com/aws/aws-sdk-go-v2/service/ecs", ""},

		{"internal/store", "internal/registry", "stands above"},
		{"internal/directory", "internal/store", "stands above"},
		{"internal/fault", "internal/arn", "stands above"},
		{"internal/api/ecs", "internal/app", "stands above"},
		{"internal/control/rollout", "internal/control/scheduler", "siblings"},
		{"internal/registry", "internal/zone", "siblings"},
		{"internal/api/ecs", "internal/api/cloudmap", "siblings"},
		{"internal/control/scheduler", "internal/api/awsapi", "meet in rows"},
		{"internal/dns/server", "internal/store", "never from a round trip"},
		{"internal/dns/answer", "internal/store/etcd", "never from a round trip"},
		{"internal/control/loop", "internal/task", "not what they mean"},
		{"internal/sample", "internal/fault", "like any user's"},
		{"internal/directory", "github.com/aws/smithy-go", "stay at the edge"},
		{"internal/registry", "go.etcd.io/etcd/client/v3", "the store's affair"},
		{"internal/app", "github.com/miekg/dns", "exchangeable"},
		{"internal/drawer", "internal/fault", "no layer"},
	} {
		got := objection(tc.from, tc.to)
		if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s imports %s: %q, want %q", tc.from, tc.to, got, tc.want)
		}
	}
}

// TestPackageComments wants a package comment on every package: it is the map that a reader starts from.
func TestPackageComments(t *testing.T) {
	docs := map[string]string{}
	for _, file := range goFiles(t) {
		if !file.test {
			docs[file.pkg] = cmp.Or(docs[file.pkg], file.doc)
		}
	}
	for _, file := range goFiles(t) {
		doc, needed := docs[file.pkg]
		if !needed {
			continue
		}
		start := "Package " + file.name + " "
		if file.name == "main" {
			start = "Command "
		}
		if !strings.HasPrefix(doc, start) {
			t.Errorf("%s: the package comment must begin with %q, but begins with %.40q", file.pkg, start, doc)
		}
		delete(docs, file.pkg) // say it once
	}
}
