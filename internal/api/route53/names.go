package route53

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/bakingclouds/rollcall/internal/directory"
)

// maxNameText is the longest name in a request, in octets with escapes (API Reference, DNSName).
const maxNameText = 1024

// formatName returns a folded name as Route 53 writes it: lower case, with all octets except letters, digits, "-", "_"
// and "." as \ooo, and with a trailing dot (Developer Guide, "DNS domain name format").
func formatName(name string) string {
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

// parseName returns the folded name, as the directory has it, for a name in a request, which may have escapes and a
// trailing dot. An escaped dot or backslash becomes \046 or \092, as in [answer.Query]: it does not separate labels.
func parseName(text string) (string, error) {
	if len(text) > maxNameText {
		return "", invalid("A domain name must have at most %d characters", maxNameText)
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
			return "", invalid(
				`The domain name %.300q has a backslash that is not followed by three octal digits, as in \052`, text)
		case c == '.' || c == '\\':
			fmt.Fprintf(&b, `\%03d`, c)
		default:
			b.WriteByte(byte(c))
		}
		i += len(octal)
	}
	return directory.CanonicalName(b.String()), nil
}

// sortKey returns the key that names are compared by, as ASCII: the labels from the last to the first, each with its
// dot, so that a name follows the names above it (API Reference, ListResourceRecordSets, "Sort order").
func sortKey(name string) string {
	if name == "" {
		return ""
	}
	labels := strings.Split(name, ".")
	slices.Reverse(labels)
	return strings.Join(labels, ".") + "."
}
