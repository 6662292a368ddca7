package etcd

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestMapping(t *testing.T) {
	const maps = `00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/rollcall
7f3c00000000-7f3e80000000 r--s 00000000 08:02 135522                    /var/lib/a b/db
7f4c00000000-7f4c00001000 rw-p 00000000 00:00 0
7f5c00000000-7f5c00001000 r--p 00000000 08:02 135523                    /private
7f6c00000000-7f6c00001000 r--s 00000000 08:02 135524                    /twice
7f7c00000000-7f7c00001000 r--s 00000000 08:02 135524                    /twice
`
	for _, tc := range []struct{ path, want string }{
		{"/var/lib/a b/db", "7f3c00000000-7f3e80000000"},
		{"/private", "/private is mapped 0 times"},
		{"/twice", "/twice is mapped 2 times"},
		{"/var/lib/a", "/var/lib/a is mapped 0 times"},
	} {
		start, end, err := mapping(maps, tc.path)
		got := fmt.Sprintf("%x-%x", start, end)
		if err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%s: %s, want %s", tc.path, got, tc.want)
		}
	}
}

// TestTrim checks that Trim removes the database's pages from the process's memory, and reads return the same data
// as before.
func TestTrim(t *testing.T) {
	s := start(t, Config{Dir: t.TempDir()})
	client, err := s.Client()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if _, err := client.Put(t.Context(), fmt.Sprintf("/k/%02d", i), strings.Repeat("v", 32<<10)); err != nil {
			t.Fatal(err)
		}
	}
	read := func() {
		t.Helper()
		got, err := client.Get(context.WithoutCancel(t.Context()), "/k/", clientv3.WithPrefix())
		if err != nil || len(got.Kvs) != 100 || string(got.Kvs[99].Value) != strings.Repeat("v", 32<<10) {
			t.Fatalf("%d keys, %v", len(got.Kvs), err)
		}
	}
	s.eng.server.Backend().ForceCommit() // uncommitted rows would be read from a buffer
	read()
	before := residentKiB(t, s.eng.space.dbPath())
	s.Trim()
	if after := residentKiB(t, s.eng.space.dbPath()); before < 3<<10 || after > before/4 {
		t.Errorf("resident memory of the database: %d KiB before, %d KiB after, want less than a quarter",
			before, after)
	}
	read()
}

// residentKiB returns the size of a mapped file's resident memory in this process, from proc_pid_smaps(5).
func residentKiB(t *testing.T, path string) (kib int) {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	within := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		if strings.HasSuffix(line, " "+path) {
			within = true
		} else if n, ok := strings.CutPrefix(line, "Rss:"); ok && within {
			fmt.Sscanf(n, "%d", &kib)
			return kib
		}
	}
	t.Fatalf("%s is not mapped", path)
	return 0
}
