// Package source reads the repository's own files, for tests that check them: which files belong to the project, their
// text, and what its Go files import.
package source

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

// module is the prefix of the packages of this module. The functions below return packages without it.
const module = "github.com/bakingclouds/rollcall/"

// Root returns the project's folder: the one at or above the test's working directory that has the go.mod.
func Root() string {
	dir, err := os.Getwd()
	for err == nil && dir != "/" {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	panic("the tests do not run inside the repository")
}

// Files returns the files that belong to the project, by their path from its root: those that git tracks, or all files
// if the source came without git.
//
// It opens every folder and git's index itself. go test repeats a cached result unless a file or folder that the test
// itself has opened has changed; it cannot see what git opens.
func Files(t *testing.T) (files []string) {
	t.Helper()
	tracked := trackedFiles()
	err := filepath.WalkDir(Root(), func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "bin" || d.Name() == "node_modules" || d.Name() == ".git"):
			return filepath.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		rel, err := filepath.Rel(Root(), name)
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

// trackedFiles returns the files that git tracks, or nil if it tracks none.
func trackedFiles() (tracked map[string]bool) {
	os.Stat(filepath.Join(Root(), ".git/index")) // for go test's cache
	cmd := exec.Command("git", "ls-files", "-z")
	cmd.Dir = Root()
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

// ReadText reads a file of the repository. ok is false if the file is not text.
func ReadText(t *testing.T, file string) (text string, ok bool) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(Root(), file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b), !bytes.Contains(b[:min(len(b), 8000)], []byte{0})
}

// GoFile is a Go source file with what the repository's rules need of it.
type GoFile struct {
	Path    string // from the module's root: "internal/store/tx.go"
	Package string // path from the module's root: "internal/store"
	Name    string // of the package: "store", "main"
	Test    bool
	Doc     string   // the package comment, if this file has it
	Imports []string // packages of this module without its path: "internal/fault", "github.com/miekg/dns"
}

// GoFiles parses the Go files of the repository, including those for other operating systems, which `go list` leaves
// out.
func GoFiles(t *testing.T) (files []GoFile) {
	t.Helper()
	for _, file := range Files(t) {
		if path.Ext(file) != ".go" || strings.Contains("/"+file, "/testdata/") {
			continue
		}
		ast, err := parser.ParseFile(token.NewFileSet(), filepath.Join(Root(), file), nil,
			parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, GoFile{
			Path:    file,
			Package: path.Dir(file),
			Name:    ast.Name.Name,
			Test:    strings.HasSuffix(file, "_test.go"),
			Doc:     ast.Doc.Text(),
			Imports: importsOf(ast),
		})
	}
	if len(files) == 0 {
		t.Fatal("no Go files found")
	}
	return files
}

// importsOf returns the packages that a file imports.
func importsOf(file *ast.File) (imports []string) {
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the compiler reports it
		}
		imports = append(imports, strings.TrimPrefix(imported, module))
	}
	return imports
}

// Within reports whether pkg is dir or below it.
func Within(pkg, dir string) bool { return pkg == dir || strings.HasPrefix(pkg, dir+"/") }
