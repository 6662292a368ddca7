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
	"strconv"
	"strings"
	"testing"
)

// module is the path of this module; the packages of the tests below are named without it.
const module = "github.com/bakingclouds/rollcall/"

// root is the repository, seen from this package's folder, in which go runs its tests.
const root = ".."

// repositoryFiles lists the files that belong to the project, by their path from its root: what git tracks,
// or all files where the source came without git.
//
// It looks at every folder itself and at git's index: go test repeats a test's cached result unless a file or
// folder that the test itself has opened has changed, and cannot see what git opens.
func repositoryFiles(t *testing.T) (files []string) {
	t.Helper()
	tracked := trackedFiles()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "bin" || d.Name() == "node_modules" || d.Name() == ".git"):
			return filepath.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		rel, err := filepath.Rel(root, name)
		if rel = filepath.ToSlash(rel); tracked == nil || tracked[rel] {
			files = append(files, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// trackedFiles is what git tracks, or nil where it tracks nothing.
func trackedFiles() (tracked map[string]bool) {
	os.Stat(filepath.Join(root, ".git/index")) // for go test's cache
	cmd := exec.Command("git", "ls-files", "-z")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil
	}
	for file := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if tracked == nil {
			tracked = map[string]bool{}
		}
		tracked[file] = true
	}
	return tracked
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
