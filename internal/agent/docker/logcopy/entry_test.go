package logcopy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// TestReadTerminal reads entries of a container with a terminal. The pieces of a line that the engine has divided are
// separate entries, and text that looks like a time is text.
func TestReadTerminal(t *testing.T) {
	const at = "2026-01-31T12:00:00.000000000Z "
	piece := strings.Repeat("x", pieceLength)
	for _, want := range [][]string{
		{}, {"a\n"}, {"a\n", "\n", "b"}, {piece, "\n"}, {piece, piece, "end\n", "a\n"}, {at + "a\n", "b\n"},
		{piece + "longer\n", "a\n"},
	} {
		var stream bytes.Buffer
		for _, e := range want {
			stream.WriteString(at + e)
		}
		r := bufio.NewReader(&stream)
		for _, e := range want {
			if _, got, err := readEntry(r, true); string(got) != at+e {
				t.Errorf("entry %.40q, %v; want %.40q", got, err, at+e)
			}
		}
		if _, got, err := readEntry(r, true); len(got) > 0 || err == nil {
			t.Errorf("after the last entry: %q, %v; want an error", got, err)
		}
	}
}

// TestReadFrame reads entries of a container without a terminal.
func TestReadFrame(t *testing.T) {
	stream := "\x01\x00\x00\x00\x00\x00\x00\x03out" + "\x02\x00\x00\x00\x00\x00\x00\x00"
	for _, tc := range []struct {
		name, rest string
		want       error // nil for any other
	}{
		{"end", "", io.EOF},
		{"cut header", "\x01\x00", io.ErrUnexpectedEOF},
		{"cut entry", "\x01\x00\x00\x00\x00\x00\x00\x03ou", io.ErrUnexpectedEOF},
		{"entry is too long", "\x01\x00\x00\x00\x7f\x00\x00\x00", nil},
	} {
		r := bufio.NewReader(strings.NewReader(stream + tc.rest))
		for _, want := range []struct {
			stream byte
			text   string
		}{{1, "out"}, {2, ""}} {
			if stream, got, err := readEntry(r, false); stream != want.stream || string(got) != want.text ||
				err != nil {
				t.Errorf("%s: stream %d, %q, %v; want %d, %q", tc.name, stream, got, err, want.stream, want.text)
			}
		}
		if _, got, err := readEntry(r, false); len(got) > 0 || err == nil ||
			tc.want != nil && !errors.Is(err, tc.want) {
			t.Errorf("%s: %q, %v; want the error %v", tc.name, got, err, tc.want)
		}
	}
}
