package cloudwatchlogs

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
)

// maxPattern is the largest length of a filter pattern.
const maxPattern = 1024

// term reports whether a message contains a part of a pattern.
type term func([]byte) bool

// parsePattern parses a filter pattern for unstructured log events ("Filter pattern syntax" in the CloudWatch Logs User
// Guide). A message matches if it contains all plain terms and no -term. If the pattern has only ?terms, a message must
// contain one of them. A term with characters other than letters, digits and underscores is written in double quotes.
// %…% is a regular expression. A nil function means no pattern.
func parsePattern(pattern string) (func([]byte) bool, error) {
	rest := strings.TrimSpace(pattern)
	switch {
	case rest == "":
		return nil, nil
	case len(rest) > maxPattern:
		return nil, invalid("A filter pattern must have at most %d characters.", maxPattern)
	case rest[0] == '{' || rest[0] == '[':
		return nil, invalid("Invalid filter pattern: patterns for JSON and for space-delimited events " +
			"are not supported by this server; use terms.")
	}
	var all, none, any []term
	for rest != "" {
		list := &all
		switch rest[0] {
		case '-':
			list, rest = &none, rest[1:]
		case '?':
			list, rest = &any, rest[1:]
		}
		t, behind, err := parseTerm(rest)
		if err != nil {
			return nil, err
		}
		*list = append(*list, t)
		rest = strings.TrimSpace(behind)
	}
	if len(all)+len(none) > 0 {
		any = nil // AWS ignores ?terms in combination with other terms
	}
	return func(text []byte) bool {
		in := func(t term) bool { return t(text) }
		notIn := func(t term) bool { return !t(text) }
		return !slices.ContainsFunc(all, notIn) && !slices.ContainsFunc(none, in) &&
			(len(any) == 0 || slices.ContainsFunc(any, in))
	}, nil
}

// parseTerm parses the first term of a pattern and returns the rest of the pattern.
func parseTerm(s string) (t term, rest string, err error) {
	bad := func() (term, string, error) { return nil, "", invalid("Invalid filter pattern") }
	switch {
	case s == "":
		return bad()
	case s[0] == '%':
		end := strings.IndexByte(s[1:], '%')
		if end < 0 {
			return bad()
		}
		re, err := regexp.Compile(s[1 : end+1])
		if err != nil {
			return bad()
		}
		return re.Match, s[end+2:], nil
	case s[0] == '"':
		var word []byte
		for i := 1; i < len(s); i++ {
			switch {
			case s[i] == '\\' && i+1 < len(s):
				i++
				word = append(word, s[i])
			case s[i] == '"':
				return contains(word), s[i+1:], nil
			default:
				word = append(word, s[i])
			}
		}
		return bad()
	}
	word, rest, _ := strings.Cut(s, " ")
	return contains([]byte(word)), rest, nil
}

func contains(word []byte) term {
	return func(text []byte) bool { return bytes.Contains(text, word) }
}
