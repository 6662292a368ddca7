package repo

import (
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/bakingclouds/rollcall/test/harness/source"
)

// The parts of Markdown that have links and their targets: [text](target), [name]: target, # Heading.
var (
	codeFence   = regexp.MustCompile("(?ms)^ *```.*?^ *```[^\n]*$")
	codeSpan    = regexp.MustCompile("`[^`\n]*`")
	inlineLink  = regexp.MustCompile(`\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)`)
	linkTarget  = regexp.MustCompile(`(?m)^ {0,3}\[[^\]]+\]:\s*<?([^\s>]+)`)
	heading     = regexp.MustCompile(`(?m)^ {0,3}#{1,6}\s+(.*?)\s*#*\s*$`)
	headingLink = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// links returns the targets of a document's links.
func links(markdown string) (targets []string) {
	prose := codeSpan.ReplaceAllString(codeFence.ReplaceAllString(markdown, ""), "")
	for _, form := range []*regexp.Regexp{inlineLink, linkTarget} {
		for _, m := range form.FindAllStringSubmatch(prose, -1) {
			targets = append(targets, m[1])
		}
	}
	return targets
}

// anchors returns the fragments that a link may have: a document's headings in the form that GitHub gives them.
func anchors(markdown string) (ids []string) {
	for _, m := range heading.FindAllStringSubmatch(codeFence.ReplaceAllString(markdown, ""), -1) {
		text := strings.ToLower(headingLink.ReplaceAllString(m[1], "$1"))
		ids = append(ids, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return r
			}
			return -1
		}, text))
	}
	return ids
}

// brokenLink returns what is wrong with a link of a document, or "".
func brokenLink(t *testing.T, file, target string) string {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		return "is not a URL"
	}
	if u.Scheme != "" || u.Host != "" {
		return "" // another site, which is not checked
	}
	if path.IsAbs(u.Path) {
		return "is absolute, and works on one site only"
	}
	to := file
	if u.Path != "" {
		to = path.Join(path.Dir(file), u.Path)
	}
	if info, err := os.Stat(filepath.Join(source.Root(), to)); err != nil {
		return "leads to a file that does not exist"
	} else if info.IsDir() {
		return ""
	}
	if u.Fragment != "" && path.Ext(to) == ".md" {
		if text, _ := source.ReadText(t, to); !slices.Contains(anchors(text), u.Fragment) {
			return "leads to a heading that " + to + " does not have"
		}
	}
	return ""
}

// TestLinks checks every relative link of every document.
func TestLinks(t *testing.T) {
	for _, file := range source.Files(t) {
		if path.Ext(file) != ".md" {
			continue
		}
		text, _ := source.ReadText(t, file)
		for _, target := range links(text) {
			if wrong := brokenLink(t, file, target); wrong != "" {
				t.Errorf("%s: the link %s %s", file, target, wrong)
			}
		}
	}
}

// TestLinkForms checks which links and anchors the tests recognize.
func TestLinkForms(t *testing.T) {
	const doc = "# One two\n\nSee [a](a.md), ![b](img/b.png \"B\") and [c][c].\n" +
		"Not `[d](d.md)`.\n\n```sh\n# no heading\necho [e](e.md)\n```\n\n" +
		"## `go test`, [twice](a.md)!\n\n[c]: ../c.md#x\n"
	if got, want := links(doc), []string{"a.md", "img/b.png", "a.md", "../c.md#x"}; !slices.Equal(got, want) {
		t.Errorf("links are %q, want %q", got, want)
	}
	if got, want := anchors(doc), []string{"one-two", "go-test-twice"}; !slices.Equal(got, want) {
		t.Errorf("anchors are %q, want %q", got, want)
	}
}

// TestDecisionsAreListed checks that the list of decisions is complete.
func TestDecisionsAreListed(t *testing.T) {
	const list = "docs/decisions/README.md"
	text, _ := source.ReadText(t, list)
	listed := links(text)
	for _, file := range source.Files(t) {
		if path.Dir(file) == path.Dir(list) && file != list && !slices.Contains(listed, path.Base(file)) {
			t.Errorf("%s does not list %s", list, path.Base(file))
		}
	}
}

// unwanted lists what no file of the project may contain. The patterns are written so that they do not match
// themselves.
var unwanted = []struct {
	form *regexp.Regexp
	why  string
}{
	{regexp.MustCompile(`(?:^|[^\w.~*$})/-])/(?:work|root|home/\w+|Users/\w+)/\w`),
		"this path exists on one machine only"},
	{regexp.MustCompile(`\b(?:TO` + `DO|FIX` + `ME|XX` + `X)\b`), "do it, or open an issue"},
}

// TestUnwantedText searches every text file of the project for unwanted text.
func TestUnwantedText(t *testing.T) {
	for _, file := range source.Files(t) {
		text, ok := source.ReadText(t, file)
		if !ok {
			continue
		}
		for n, line := range strings.Split(text, "\n") {
			for _, u := range unwanted {
				if found := u.form.FindString(line); found != "" {
					t.Errorf("%s:%d: %q: %s", file, n+1, strings.TrimSpace(found), u.why)
				}
			}
		}
	}
}
