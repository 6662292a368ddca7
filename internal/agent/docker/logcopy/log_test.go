package logcopy

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// logTest feeds a log with entries in a short form: a digit for the second, then the text. Entries in capitals are of
// standard error. The second 8 lies in the future.
type logTest struct {
	t      *testing.T
	folder string
	log    *log
}

// open opens the log, as after a crash if it is open.
func (l *logTest) open() {
	l.t.Helper()
	var err error
	if l.log, err = openLog(l.folder); err != nil {
		l.t.Fatal(err)
	}
}

// copy copies entries as the engine returns them to one request.
func (l *logTest) copy(entries ...string) {
	l.t.Helper()
	l.log.resume(func(error) {})
	for _, e := range entries {
		year, stream := 2026, byte(1)
		if e[0] == '8' {
			year = 2200
		}
		if e[1:] == strings.ToUpper(e[1:]) {
			stream = 2
		}
		entry := fmt.Appendf(nil, "%d-01-31T12:00:0%s.000000000Z %s", year, e[:1], e[1:])
		if err := l.log.append(stream, entry); err != nil {
			l.t.Fatal(err)
		}
	}
	if err := l.log.flush(); err != nil {
		l.t.Fatal(err)
	}
}

// TestLog checks that entries which the engine repeats are written once, and that text without stored progress is
// removed when the log is opened again.
func TestLog(t *testing.T) {
	l := &logTest{t: t, folder: filepath.Join(t.TempDir(), "log")}
	l.open()
	l.copy("1a\n", "2b", "2c")
	l.copy("2b", "2c", "2d\n") // entries of one second are counted
	if err := l.log.writer.Append([]byte("no progress stored\n")); err != nil {
		t.Fatal(err)
	}
	l.open()
	l.copy("2b", "2c", "2d\n", "3e\n", "1a\n", "2b", "2c", "2d\n", "3e\n", "3f\n") // the engine has rotated its files
	l.copy("3e\n", "3f\n", "4g\n", "3X\n", "4Y\n", "4h\n")                         // standard error comes late
	l.open()
	l.copy("3e\n", "3f\n", "4g\n", "3X\n", "4Y\n", "4h\n", "4i\n", "4Z\n", "8in the future\n", "5clock set back\n")
	if err := l.log.append(1, []byte("no time")); err == nil {
		t.Error("an entry without a time is accepted")
	}
	if err := l.log.append(3, []byte("2026-01-31T12:00:09.000000000Z x")); err == nil {
		t.Error("an entry of an unknown stream is accepted")
	}
	if err := l.log.close(true); err != nil {
		t.Fatal(err)
	}
	compareLogs(t, readLog(t, l.folder), "a\nbcd\ne\nf\ng\nX\nY\nh\ni\nZ\nin the future\nclock set back\n")
}
