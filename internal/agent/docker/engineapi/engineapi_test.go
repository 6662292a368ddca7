package engineapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/bakingclouds/rollcall/internal/fault"
)

// TestErrors checks which errors a caller can retry.
func TestErrors(t *testing.T) {
	for _, tc := range []struct {
		name        string
		err         error
		unreachable bool
	}{
		{"deadline", fmt.Errorf("call: %w", context.DeadlineExceeded), true},
		{"canceled", context.Canceled, true},
		{"connection closed", io.EOF, true},
		{"connection closed within a message", io.ErrUnexpectedEOF, true},
		{"connection refused", &net.OpError{Op: "dial", Err: errors.New("connection refused")}, true},
		{"answer of the engine", errors.New("Error response from daemon: no such image"), false},
	} {
		if got := Unreachable(tc.err); got != tc.unreachable {
			t.Errorf("%s: Unreachable is %v, want %v", tc.name, got, tc.unreachable)
		}
		if got := fault.Is(Error(tc.err), fault.Unavailable); got != tc.unreachable {
			t.Errorf("%s: Error is fault.Unavailable: %v, want %v", tc.name, got, tc.unreachable)
		}
		start, want := StartError("CannotStartContainerError", tc.err), fault.Invalid
		if tc.unreachable {
			want = fault.Unavailable
		}
		if !fault.Is(start, want) {
			t.Errorf("%s: StartError is %v, want the kind %v", tc.name, start, want)
		}
	}
	err := StartError("CannotStartContainerError", errors.New("Error response from daemon: no such program"))
	if want := "CannotStartContainerError: no such program"; !strings.HasSuffix(err.Error(), want) {
		t.Errorf("StartError is %q, want it to end with %q", err, want)
	}
}

// TestOwner checks that a data folder keeps its owner id, and that a new folder at the same path gets another.
func TestOwner(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadOwner(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadOwner of a new folder: %v, want fs.ErrNotExist", err)
	}
	create := func() string {
		t.Helper()
		id, err := Owner(dir)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	first := create()
	if again := create(); again != first || len(ShortOwner(first)) != 12 || !strings.HasPrefix(first, ShortOwner(first)) {
		t.Errorf("owner ids are %q and %q, want the same", first, again)
	}
	if err := os.RemoveAll(Folder(dir)); err != nil {
		t.Fatal(err)
	}
	if second := create(); second == first {
		t.Errorf("a new folder has the owner id of the old one, %q", second)
	}
	if err := os.WriteFile(OwnerFile(dir), []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if id, err := Owner(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Owner with a damaged file: %q, %v; want an error", id, err)
	}
}
