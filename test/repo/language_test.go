package repo

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/bakingclouds/rollcall/test/harness/source"
)

// A phrase is an idiom that readers have to translate, and the plain words to use in its place.
type phrase struct {
	pattern *regexp.Regexp
	use     string
}

func idiom(pattern, use string) phrase {
	return phrase{regexp.MustCompile(`(?i)\b(?:` + pattern + `)\b`), use}
}

// phrases are checked in comments and string literals of Go files, in Markdown pages and in scripts.
var phrases = []phrase{
	idiom(`says? (?:who|what|why|which|how|so|whether|where|when)`, "reports, returns, describes, gives the reason"),
	idiom(`(?:error|log|message|text|row|comment|answer)s? says?`, "the error reports, contains, is"),
	idiom(`(?:is|are|was|were|be|been|being|gets?) told|told (?:of|about)|tells? of`, "receives, is notified, reports"),
	idiom(`hears? (?:of|from)|heard (?:of|from)`, "receives, is notified"),
	idiom(`somebody|nobody|whoever|anybody`, "the caller, the client, another node, no reader"),
	idiom(`anew`, "again"),
	idiom(`beside`, "next to, with, in addition to"),
	idiom(`to be had|be had`, "available"),
	idiom(`(?:has|have|had) (?:it|them|this|that) from`, "reads it from, receives it from"),
	idiom(`(?:takes?|taken|got) again`, "accepts again, acquires again, renews"),
	idiom(`gives? (?:it |them )?back|giving back|given back|gave back`, "returns, releases"),
	idiom(`of (?:its|their|his|our|your) own`, "its own"),
	idiom(`(?:is|are) no (?:number|name|list|address|duration|time|file|folder|port|word|JSON|ARN|network)`, "is not a …"),
	idiom(`for ever`, "forever"),
	idiom(`what stands|stands? (?:in|above|under|at|behind|there)|stood`, "is"),
	idiom(`(?:goes|go|going|went) on`, "continues, keeps running"),
	idiom(`mends?|mended|mending`, "fixes, repairs, corrects"),
	idiom(`lets? go of`, "releases"),
	idiom(`nothing of (?:it|them|this|that|its)`, "none of it"),
	idiom(`knows? nothing of`, "does not know about, does not import"),
	idiom(`(?:wanted|asked|wants|asks) of`, "requested from, required of"),
	idiom(`in the (?:end's|way of)`, "blocks, prevents"),
	idiom(`and means it|of late|thereof|whereof|wherein|unasked|forthwith|hitherto`, "plain words"),
}

// An exception is a place where a phrase is the right word.
type exception struct{ file, text, why string }

var exceptions = []exception{
	{"test/repo/language_test.go", "", "this file lists the phrases"},
	{"internal/agent/docker/image/program.go", "nobody:", "the user of Unix"},
	{"internal/agent/docker/image/program_test.go", "nobody", "the user of Unix"},
	{"docs/nomenclature.md", "", "the page lists the words that are avoided"},
}

// TestLanguage keeps idioms out that the project once used, and that readers had to translate. The rule is in
// CONTRIBUTING.md, "Plain English".
func TestLanguage(t *testing.T) {
	used := make([]bool, len(exceptions))
	for _, file := range source.Files(t) {
		if !isProse(file) {
			continue
		}
		for _, p := range passages(t, file) {
			for _, ph := range phrases {
				for _, found := range ph.pattern.FindAllString(p.text, -1) {
					if !excepted(file, p.text, used) {
						t.Errorf("%s:%d: %q: use plain words (%s)", file, p.line, found, ph.use)
					}
				}
			}
		}
	}
	for i, e := range exceptions {
		if !used[i] {
			t.Errorf("exception for %s (%q) is not needed any more: remove it", e.file, e.text)
		}
	}
}

func excepted(file, text string, used []bool) bool {
	i := slices.IndexFunc(exceptions, func(e exception) bool { return e.file == file && strings.Contains(text, e.text) })
	if i >= 0 {
		used[i] = true
	}
	return i >= 0
}

// A passage is one comment, string literal or line of a page.
type passage struct {
	line int
	text string
}

// isProse reports whether a file contains text that people read.
func isProse(file string) bool {
	if strings.Contains("/"+file, "/testdata/") {
		return false
	}
	return slices.Contains([]string{".go", ".md", ".sh", ".py", ".yml"}, path.Ext(file)) || path.Base(file) == "Makefile"
}

// passages returns the texts of a file that are written in English.
func passages(t *testing.T, file string) (all []passage) {
	t.Helper()
	text, _ := source.ReadText(t, file)
	if path.Ext(file) != ".go" {
		for i, line := range strings.Split(text, "\n") {
			all = append(all, passage{i + 1, line})
		}
		return all
	}
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, file, text, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range f.Comments {
		comment := strings.Join(strings.Fields(group.Text()), " ") // a phrase may continue on the next line
		all = append(all, passage{fset.Position(group.Pos()).Line, comment})
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			all = append(all, passage{fset.Position(lit.Pos()).Line, lit.Value})
		}
		return true
	})
	return all
}

// TestPhrases checks the patterns on sentences that they are for.
func TestPhrases(t *testing.T) {
	for _, tc := range []struct {
		text string
		want bool
	}{
		{"Kind says what a caller can do", true},
		{"the agent is told of an end", true},
		{"its events are not to be had", true},
		{"the answer is made anew", true},
		{"an address of its own", true},
		{"The agent reports the end of a container.", false},
		{"besides, a task has its own address", false},
		{"The server keeps running.", false},
	} {
		got := slices.ContainsFunc(phrases, func(p phrase) bool { return p.pattern.MatchString(tc.text) })
		if got != tc.want {
			t.Errorf("%q: found %v, want %v", tc.text, got, tc.want)
		}
	}
}
