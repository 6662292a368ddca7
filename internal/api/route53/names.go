package route53

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/bakingclouds/rollcall/internal/directory"
)

// maxNameText is the longest name that a request may have, in octets with escapes (API Reference, DNSName).
const maxNameText = 1024

// written is a name as Route 53 writes it: lower case, every octet but letters, digits, "-", "_" and "." as \ooo,
// a dot at the end (Developer Guide, "DNS domain name format"). name is folded.
func written(name string) string {
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\%03o`, c)
		}
	}
	return b.String() + "."
}

// read is the folded name, as the directory has it, that a request writes with or without escapes and dot at the
// end. An escaped dot or backslash becomes \046 or \092, as in [answer.Query]: it separates nothing.
func read(text string) (string, error) {
	if len(text) > maxNameText {
		return "", invalid("A domain name has at most %d characters", maxNameText)
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			b.WriteByte(text[i])
			continue
		}
		octal := text[i+1 : min(i+4, len(text))]
		c, err := strconv.ParseUint(octal, 8, 8)
		switch {
		case err != nil || len(octal) != 3:
			return "", invalid(`The domain name %.300q has a backslash without three octal digits behind it, as in \052`, text)
		case c == '.' || c == '\\':
			fmt.Fprintf(&b, `\%03d`, c)
		default:
			b.WriteByte(byte(c))
		}
		i += len(octal)
	}
	return directory.CanonicalName(b.String()), nil
}

// sortKey is what names are compared by, as ASCII: the labels from the last to the first, each with its dot, so
// that names follow the one that they lie below (API Reference, ListResourceRecordSets, "Sort order").
func sortKey(name string) string {
	if name == "" {
		return ""
	}
	labels := strings.Split(name, ".")
	slices.Reverse(labels)
	return strings.Join(labels, ".") + "."
}
