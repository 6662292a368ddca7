package repo

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/bakingclouds/rollcall/test/harness/source"
)

// packages returns the folder of each package that has files for which keep returns true, sorted.
func packages(t *testing.T, keep func(source.GoFile) bool) []string {
	t.Helper()
	found := map[string]bool{}
	for _, file := range source.GoFiles(t) {
		if keep(file) {
			found[file.Package] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// TestPackageComments requires a package comment of every package. It is the map that a reader starts from.
func TestPackageComments(t *testing.T) {
	comments, names := map[string]string{}, map[string]string{}
	for _, file := range source.GoFiles(t) {
		if !file.Test {
			comments[file.Package] = cmp.Or(comments[file.Package], file.Doc)
			names[file.Package] = file.Name
		}
	}
	for pkg, comment := range comments {
		want := "Package " + names[pkg] + " "
		if names[pkg] == "main" {
			want = "Command "
		}
		if !strings.HasPrefix(comment, want) {
			t.Errorf("%s: the package comment begins with %.40q, want %q", pkg, comment, want)
		}
	}
}

// packageTable is the document whose section "Packages" lists every package.
const packageTable = "docs/architecture.md"

var (
	packageSection = regexp.MustCompile(`(?ms)^## Packages\n(.*?)(?:^## |\z)`)
	tableRow       = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")
)

// TestPackageTable compares the table of packages in docs/architecture.md with the tree: one row per package, and no
// row for a package that does not exist.
func TestPackageTable(t *testing.T) {
	text, _ := source.ReadText(t, packageTable)
	section := packageSection.FindStringSubmatch(text)
	if section == nil {
		t.Fatalf("%s has no section Packages", packageTable)
	}
	var rows []string
	for _, m := range tableRow.FindAllStringSubmatch(section[1], -1) {
		if slices.Contains(rows, m[1]) {
			t.Errorf("%s lists %s twice", packageTable, m[1])
		}
		rows = append(rows, m[1])
	}
	tree := packages(t, func(file source.GoFile) bool { return true })
	for _, pkg := range tree {
		if !slices.Contains(rows, pkg) {
			t.Errorf("the table in %s has no row that begins with | `%s` |: add one", packageTable, pkg)
		}
	}
	for _, pkg := range rows {
		if !slices.Contains(tree, pkg) {
			t.Errorf("the table in %s lists %s, which does not exist: remove the row", packageTable, pkg)
		}
	}
}

// TestTestFiles requires a test, benchmark, example or fuzz target in every file named _test.go. Helpers of several
// test files belong in another package, such as test/harness.
func TestTestFiles(t *testing.T) {
	entry := regexp.MustCompile(`^(Test|Benchmark|Example|Fuzz)`)
	for _, file := range source.GoFiles(t) {
		if !file.Test || !source.Within(file.Package, "test") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(source.Root(), file.Path), nil,
			parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(parsed.Decls, func(d ast.Decl) bool {
			f, ok := d.(*ast.FuncDecl)
			return ok && f.Recv == nil && entry.MatchString(f.Name.Name)
		}) {
			t.Errorf("%s has no test: move its helpers to test/harness or to the tests that use them", file.Path)
		}
	}
}
