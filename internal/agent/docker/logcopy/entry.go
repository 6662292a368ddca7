package logcopy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// Limits of entries. The engine divides lines into pieces of 16 KiB, each of which is an entry.
const (
	maxEntry    = 1 << 20
	pieceLength = 16 << 10
)

// timestampLength is the length of an entry's timestamp, which the engine always writes with nine digits of a second,
// and of the space after it.
const timestampLength = len("2006-01-02T15:04:05.000000000Z ")

// readEntry reads an entry: the stream, and a timestamp, a space and the text. Containers with a terminal have only
// stream 0. It returns io.EOF at the end of the log, and only a terminal's last entry together with it.
func readEntry(r *bufio.Reader, tty bool) (stream byte, entry []byte, err error) {
	if tty {
		entry, err = readTerminal(r)
		return 0, entry, err
	}
	return readFrame(r)
}

// readFrame reads an entry of a container without a terminal: a header of 8 bytes, of which the first is the stream and
// the last 4 are the length (Docker Engine API, "Attach to a container").
func readFrame(r *bufio.Reader) (stream byte, entry []byte, err error) {
	var header [8]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(header[4:])
	if size > maxEntry {
		return 0, nil, fmt.Errorf("docker: log entry of %d bytes is too long", size)
	}
	entry = make([]byte, size)
	if _, err := io.ReadFull(r, entry); err != nil {
		return 0, nil, err
	}
	return header[0], entry, nil
}

// readTerminal reads an entry of a container with a terminal. The entries have no header: an entry ends with its line,
// or, if the engine has divided the line, after pieceLength bytes with the next entry's timestamp.
func readTerminal(r *bufio.Reader) ([]byte, error) {
	entry := make([]byte, timestampLength, 256)
	if _, err := io.ReadFull(r, entry); err != nil {
		return nil, err
	}
	for len(entry) < maxEntry {
		if text := len(entry) - timestampLength; text > 0 && text%pieceLength == 0 {
			if next, _ := r.Peek(timestampLength); isTimestamp(next) {
				return entry, nil
			}
		}
		b, err := r.ReadByte()
		if err == io.EOF {
			return entry, err // the last line of a program may have no end
		}
		if err != nil {
			return nil, err
		}
		if entry = append(entry, b); b == '\n' {
			break
		}
	}
	return entry, nil
}

func isTimestamp(b []byte) bool {
	_, _, ok := cutTimestamp(b)
	return ok
}

// cutTimestamp divides an entry into its time and its text.
func cutTimestamp(entry []byte) (at time.Time, text []byte, ok bool) {
	stamp, text, ok := bytes.Cut(entry, []byte(" "))
	if !ok || len(stamp) > timestampLength+len("+00:00") {
		return at, nil, false
	}
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	return at, text, err == nil
}
