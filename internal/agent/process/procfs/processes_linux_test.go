package procfs

import (
	"slices"
	"testing"
)

func TestParseStat(t *testing.T) {
	const line = "4242 (a (bad) name) S 1 4240 4239 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 0 0 18446744073709551615"
	got, err := parseStat([]byte(line))
	if want := (Stat{state: 'S', session: 4239, ticks: 987654}); err != nil || got != want {
		t.Errorf("parseStat: %+v, %v; want %+v", got, err, want)
	}
	if _, err := parseStat([]byte("4242 (cut) S 1")); err == nil {
		t.Error("parseStat accepts a line with missing fields")
	}
}

func TestBelongsTo(t *testing.T) {
	environ := []byte("PATH=/bin\x00X" + TagVariable + "=no\x00" + TagVariable + "=abc.web\x00")
	p := Process{PID: 7, session: 6, tag: tagIn(environ)}
	var got []bool
	for _, of := range []struct {
		tag     string
		session int
	}{{"abc.web", 0}, {"abc.we", 0}, {"abc.web.exec1", 0}, {"other.web", 6}, {"other.web", 0}} {
		got = append(got, p.BelongsTo(of.tag, of.session))
	}
	if want := []bool{true, false, false, true, false}; !slices.Equal(got, want) {
		t.Errorf("process with tag %q: BelongsTo %v, want %v", p.tag, got, want)
	}
}
