package repo

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bakingclouds/rollcall/test/harness/source"
)

// layers lists the packages from the top to the bottom. A package imports only packages of lower layers, and folders
// above or below it that belong to the same entry (agent/process and agent). Entries of one layer do not import each
// other; neither do two packages below one entry.
//
// An entry covers its folder and all folders below it that have no entry themselves.
var layers = [][]string{
	{"test", "bench"},
	{"test/harness"},
	{"cmd/rollcall"},
	{"internal/cli"},
	{"internal/app", "internal/demo", "internal/sample"},
	{"internal/api", "internal/control", "internal/agent/process", "internal/agent/docker", "internal/dns/server"},
	{"internal/agent/docker/leftovers", "internal/agent/process/supervisor"},
	{"internal/agent/docker/dockertest", "internal/agent/docker/image", "internal/agent/docker/logcopy",
		"internal/agent/docker/network", "internal/agent/docker/translate", "internal/agent/process/launch"},
	{"internal/agent/docker/engineapi", "internal/agent/docker/pidwatch", "internal/agent/docker/role",
		"internal/agent/process/procfs", "internal/agent/process/protocol"},
	{"internal/agent", "internal/dns/dnstest", "internal/api/ecs/render"},
	{"internal/api/ecs/servicespec"},
	{"internal/api/ecs/taskdef"},
	{"internal/api/ecs/codec", "internal/api/ecs/identifier"},
	{"internal/api/ecs/ecserr", "internal/api/ecs/overlay"},
	{"internal/api/awsapi", "internal/api/clienttest", "internal/api/paging", "internal/control/loop"},
	{"internal/dns/answer", "internal/dns/forward", "internal/placement"},
	{"internal/registry", "internal/task", "internal/loggroup"},
	{"internal/store"},
	{"internal/store/etcd"},
	{"internal/directory"},
	{"internal/arn", "internal/attributes"},
	{"internal/fault", "internal/portowner", "internal/engineopts", "internal/atomicfile", "internal/clusterquery",
		"internal/containerlog", "examples"},
}

// bans lists imports that the layers allow and that are still wrong.
var bans = []struct{ from, to, why string }{
	{"internal/dns", "internal/store", "an answer comes from the directory in memory, never from a round trip"},
	{"internal/dns", "internal/registry", "control/publish brings rows to the directory; DNS reads only the directory"},
	{"internal/dns", "internal/task", "control/publish brings rows to the directory; DNS reads only the directory"},
	{"internal/dns", "internal/api", "DNS and the APIs meet in the directory"},
	{"internal/dns", "internal/agent", "DNS and the agent meet in the directory"},
	{"internal/dns", "internal/control", "loops bring changes to the directory; DNS does not wait for them"},
	{"internal/control", "internal/api", "loops and APIs meet in rows"},
	{"internal/control", "internal/agent", "loops and agents meet in rows"},
	{"internal/agent", "internal/api", "agents and APIs meet in rows"},
	{"internal/api", "internal/agent", "agents and APIs meet in rows"},
	{"internal/api", "internal/control", "loops and APIs meet in rows"},
	{"internal/control/loop", "internal/registry", "a loop handles keys and does not know what they mean"},
	{"internal/control/loop", "internal/task", "a loop handles keys and does not know what they mean"},
	{"internal/agent/process", "internal/store", "a runtime runs containers; the agent reads the rows"},
	{"internal/agent/docker", "internal/store", "a runtime runs containers; the agent reads the rows"},
	{"internal/demo", "internal/store", "the demo uses the API, as any user does"},
	{"internal/demo", "internal/registry", "the demo uses the API, as any user does"},
	{"internal/demo", "internal/task", "the demo uses the API, as any user does"},
	{"internal/demo", "internal/agent", "the demo uses the API, as any user does"},
	{"internal/sample", "internal", "the samples are services like any user's: they read only their environment"},
}

// reserved lists the modules and packages that only a few packages may import, so that each can be replaced in one
// place. If several entries cover an imported package, the one with the longest path applies. Tests and benchmarks
// import all of them.
var reserved = []reservation{
	{"github.com/aws", []string{"internal/api", "internal/demo"}, "AWS types stay at the edge; the domain has its own"},
	{"go.etcd.io", []string{"internal/store"}, "only the store uses etcd"},
	{"github.com/miekg/dns", []string{"internal/dns"}, "the DNS library must remain exchangeable"},
	{"github.com/spf13/cobra", []string{"internal/cli", "cmd"}, "commands end at the command line"},
	{"go.uber.org/zap", []string{"internal/store/etcd"}, "Rollcall logs with log/slog; only etcd needs zap"},
	{"net/http", []string{"internal/api", "internal/app", "internal/cli", "internal/demo", "internal/sample",
		"internal/agent/docker", "internal/agent/metadata"}, "only the edge uses HTTP"},
	{"internal/agent/docker", []string{"internal/agent/docker", "internal/app", "cmd/rollcall"}, anyRuntime},
	{"internal/agent/docker/leftovers", []string{"internal/agent/docker", "internal/cli"},
		"rollcall leftovers works without a server, so it does not ask a runtime"},
	{"internal/agent/process", []string{"internal/agent/process", "internal/app", "cmd/rollcall"}, anyRuntime},
}

// anyRuntime is the reason for which runtimes are reserved.
const anyRuntime = "app chooses the runtime and main starts its roles; other packages use any agent.Runtime and ask " +
	"for its Capabilities"

// reservation is a module or package that only the packages below the folders in to may import.
type reservation struct {
	path string
	to   []string
	why  string
}

// reservationOf returns the entry of reserved that applies to an imported package.
func reservationOf(imported string) (applies reservation, ok bool) {
	for _, r := range reserved {
		if source.Within(imported, r.path) && len(r.path) > len(applies.path) {
			applies, ok = r, true
		}
	}
	return applies, ok
}

// noLayer is the objection to a package that no layer covers.
const noLayer = "has no layer; add it to layers in test/repo/arrows_test.go and to the table in docs/architecture.md"

// objection returns why the package from must not import to, or "" if it may. Both are paths without the module's.
func objection(from, to string) string {
	top := source.Within(from, "test") || source.Within(from, "bench") || source.Within(from, "examples")
	coversFrom := func(dir string) bool { return source.Within(from, dir) }
	if r, ok := reservationOf(to); ok && !top && !slices.ContainsFunc(r.to, coversFrom) {
		return fmt.Sprintf("only %s may: %s", strings.Join(r.to, ", "), r.why)
	}
	toLayer, toEntry := layerOf(to)
	if toEntry == "" {
		return "" // the standard library, or a module that is not reserved
	}
	for _, ban := range bans {
		if source.Within(from, ban.from) && source.Within(to, ban.to) && !source.Within(to, ban.from) {
			return ban.why
		}
	}
	fromLayer, fromEntry := layerOf(from)
	switch {
	case fromEntry == "":
		return "the importing package " + noLayer
	case fromLayer < toLayer:
		return ""
	case fromEntry == toEntry && (source.Within(from, to) || source.Within(to, from)):
		return ""
	case fromLayer == toLayer:
		return "both are in the same layer; they meet in rows or in a package below both"
	}
	return "imports point down, and the imported package is in a higher layer"
}

// layerOf returns the number of the layer that covers a package, counted from the top, and the entry that covers it.
// The entry is empty if no layer covers the package.
func layerOf(pkg string) (layer int, entry string) {
	for i, entries := range layers {
		for _, e := range entries {
			if source.Within(pkg, e) && len(e) > len(entry) {
				layer, entry = i, e
			}
		}
	}
	return layer, entry
}

// isTestHelper reports whether a package exists for tests. Its name ends in "test", as in storetest and dnstest.
func isTestHelper(pkg string) bool {
	return strings.HasPrefix(pkg, "internal/") && strings.HasSuffix(pkg, "test")
}

// TestImports checks that imports point down. Test files may import any package that Go lets them import.
func TestImports(t *testing.T) {
	for _, file := range source.GoFiles(t) {
		if file.Test {
			continue
		}
		for _, imported := range file.Imports {
			if isTestHelper(file.Package) && !strings.HasPrefix(imported, "internal/") {
				continue // a helper may use the libraries that its tests use
			}
			if why := objection(file.Package, imported); why != "" {
				t.Errorf("%s imports %s: %s", file.Package, imported, why)
			}
			top := source.Within(file.Package, "bench") || source.Within(file.Package, "test")
			if isTestHelper(imported) && !isTestHelper(file.Package) && !top {
				t.Errorf("%s imports %s: helpers for tests stay out of the binary", file.Package, imported)
			}
		}
	}
}

// TestEveryPackageHasALayer checks that the layers cover all packages.
func TestEveryPackageHasALayer(t *testing.T) {
	for _, pkg := range packages(t, func(source.GoFile) bool { return true }) {
		if _, entry := layerOf(pkg); entry == "" {
			t.Errorf("%s %s", pkg, noLayer)
		}
	}
}

// TestRulesNameWhatExists checks that layers, bans and reserved name only folders that exist, so that no rule guards a
// package that was renamed or was never written. Planned packages are listed in docs/architecture.md.
func TestRulesNameWhatExists(t *testing.T) {
	tree := packages(t, func(source.GoFile) bool { return true })
	check := func(list, dir string) {
		t.Helper()
		if !slices.ContainsFunc(tree, func(pkg string) bool { return source.Within(pkg, dir) }) {
			t.Errorf("%s names %s, where there is no Go package", list, dir)
		}
	}
	for _, entries := range layers {
		for _, entry := range entries {
			check("layers", entry)
		}
	}
	for _, ban := range bans {
		check("bans", ban.from)
		check("bans", ban.to)
	}
	for _, r := range reserved {
		if strings.HasPrefix(r.path, "internal/") {
			check("reserved", r.path)
		}
		for _, dir := range r.to {
			check("reserved", dir)
		}
	}
}

// TestImportRules checks the rules on imports that are wrong and on some that are right.
func TestImportRules(t *testing.T) {
	for _, tc := range []struct{ from, to, want string }{ // want is part of the objection, or empty
		{"cmd/rollcall", "internal/cli", ""},
		{"internal/app", "internal/agent/process", ""},
		{"internal/agent/process", "internal/agent", ""},
		{"internal/agent/docker", "internal/agent/docker/image", ""},
		{"internal/cli", "internal/agent/docker/leftovers", ""},
		{"cmd/rollcall", "internal/agent/docker/role", ""},
		{"test/harness", "internal/agent/process", ""},
		{"bench", "internal/agent/docker", ""},
		{"internal/api/ecs", "internal/api/awsapi", ""},
		{"internal/api/cloudmap", "internal/directory", ""},
		{"internal/control/rollout", "internal/control/loop", ""},
		{"internal/control/publish", "internal/directory", ""},
		{"internal/dns/server", "internal/dns/answer", ""},
		{"internal/store/storetest", "internal/store", ""},
		{"internal/registry", "github.com/google/uuid", ""},
		{"internal/api/ecs", "github.com/aws/aws-sdk-go-v2/service/ecs", ""},
		{"bench/discover", "github.com/aws/aws-sdk-go-v2/service/ecs", ""},

		{"internal/store", "internal/registry", "in a higher layer"},
		{"internal/directory", "internal/store", "in a higher layer"},
		{"internal/fault", "internal/arn", "in a higher layer"},
		{"internal/api/ecs", "internal/app", "in a higher layer"},
		{"internal/control/rollout", "internal/control/scheduler", "in the same layer"},
		{"internal/registry", "internal/loggroup", "in the same layer"},
		{"internal/api/ecs", "internal/api/cloudmap", "in the same layer"},
		{"internal/control/scheduler", "internal/api/awsapi", "meet in rows"},
		{"internal/dns/server", "internal/store", "never from a round trip"},
		{"internal/dns/answer", "internal/store/etcd", "never from a round trip"},
		{"internal/control/loop", "internal/task", "what they mean"},
		{"internal/sample", "internal/fault", "like any user's"},
		{"internal/directory", "github.com/aws/smithy-go", "stay at the edge"},
		{"internal/registry", "go.etcd.io/etcd/client/v3", "only the store"},
		{"internal/app", "github.com/miekg/dns", "exchangeable"},
		{"internal/cli", "internal/agent/docker", "app chooses the runtime"},
		{"internal/demo", "internal/agent/process", "app chooses the runtime"},
		{"internal/app", "internal/agent/docker/leftovers", "without a server"},
		{"internal/drawer", "internal/fault", "no layer"},
	} {
		got := objection(tc.from, tc.to)
		if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
			t.Errorf("objection(%s, %s) = %q, want %q", tc.from, tc.to, got, tc.want)
		}
	}
}
