package test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the path of this module; the packages of the tests below are named without it.
const module = "github.com/bakingclouds/rollcall/"

// root is the repository, seen from this package's folder, in which go runs its tests.
const root = ".."

// missing ends a test that needs something which is not installed. Where CI=true everything must be there.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing; scripts/setup-test.sh installs it", what)
	}
	t.Skipf("%s is missing; scripts/setup-test.sh installs it", what)
}

// repositoryFiles lists the files that belong to the project, by their path from its root: what git tracks,
// or all files where the source came without git.
func repositoryFiles(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "-z")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return walkFiles(t)
	}
	files := strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 })
	return slices.DeleteFunc(files, func(file string) bool { // deleted, but not yet for git
		info, err := os.Stat(filepath.Join(root, file))
		return err != nil || !info.Mode().IsRegular()
	})
}

func walkFiles(t *testing.T) (files []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != root && (d.Name() == "bin" || d.Name() == "node_modules" || d.Name() == ".git"):
			return filepath.SkipDir
		case d.Type().IsRegular():
			rel, err := filepath.Rel(root, name)
			files = append(files, filepath.ToSlash(rel))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// readText reads a file of the repository; ok is false for one that is not text.
func readText(t *testing.T, file string) (text string, ok bool) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b), !bytes.Contains(b[:min(len(b), 8000)], []byte{0})
}

// goFile is a Go source file as far as it concerns the repository's rules. Files for every operating system
// are read, which asking go list would not do.
type goFile struct {
	pkg     string // path from the module's root: "internal/store"
	name    string // of the package: "store", "main"
	test    bool
	doc     string   // the package comment, if this file has it
	imports []string // packages of this module without its path: "internal/fault", "github.com/miekg/dns"
}

func goFiles(t *testing.T) (files []goFile) {
	t.Helper()
	for _, file := range repositoryFiles(t) {
		if path.Ext(file) != ".go" || strings.Contains("/"+file, "/testdata/") {
			continue
		}
		ast, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, goFile{
			pkg:     path.Dir(file),
			name:    ast.Name.Name,
			test:    strings.HasSuffix(file, "_test.go"),
			doc:     ast.Doc.Text(),
			imports: importsOf(ast),
		})
	}
	if len(files) == 0 {
		t.Fatal("no Go files found")
	}
	return files
}

func importsOf(file *ast.File) (imports []string) {
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the compiler says more about it
		}
		imports = append(imports, strings.TrimPrefix(imported, module))
	}
	return imports
}

// within reports whether pkg is dir or lies below it.
func within(pkg, dir string) bool { return pkg == dir || strings.HasPrefix(pkg, dir+"/") }
