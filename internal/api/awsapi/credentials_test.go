package awsapi_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
)

func TestReadOnlyOf(t *testing.T) {
	root := awsapi.Pair{AccessKeyID: "AKIAROOT", Secret: "root/secret+1", Role: awsapi.Administrator}
	pair, err := awsapi.ReadOnlyOf(root)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := awsapi.ReadOnlyOf(root); again != pair {
		t.Errorf("ReadOnlyOf returns %v first and then %v for the same root pair", pair, again)
	}
	other := root
	other.Secret += "x"
	if p, _ := awsapi.ReadOnlyOf(other); p == pair {
		t.Error("two root secrets have the same read-only pair")
	}
	keys, err := awsapi.NewKeys(root, pair)
	if err != nil {
		t.Fatal(err)
	}
	c, err := keys.Lookup(pair.AccessKeyID, "", time.Now())
	if err != nil || c.Role != awsapi.ReadOnly || c.Secret != pair.Secret || len(pair.AccessKeyID) != 20 ||
		len(pair.Secret) != 40 {
		t.Errorf("Lookup of %+v = %+v, %v", pair, c, err)
	}
}

// TestCredentialsMode checks that a credentials file that other users can access is rejected and left as it is.
func TestCredentialsMode(t *testing.T) {
	t.Setenv(awsapi.AccessKeyIDVar, "")
	t.Setenv(awsapi.SecretAccessKeyVar, "")
	dir := t.TempDir()
	created, err := awsapi.LoadOrCreate(dir)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, awsapi.CredentialsFile)
	for _, tc := range []struct {
		mode fs.FileMode
		ok   bool
	}{{0o600, true}, {0o400, true}, {0o644, false}, {0o640, false}, {0o602, false}} {
		if err := os.Chmod(file, tc.mode); err != nil {
			t.Fatal(err)
		}
		for name, load := range map[string]func(string) (awsapi.Pair, error){
			"Load": awsapi.Load, "LoadOrCreate": awsapi.LoadOrCreate,
		} {
			pair, err := load(dir)
			switch {
			case tc.ok && (err != nil || pair != created):
				t.Errorf("%s with mode %04o = %v, %v; want the pair", name, tc.mode, pair, err)
			case !tc.ok && (err == nil || !strings.Contains(err.Error(), "chmod 600")):
				t.Errorf("%s with mode %04o: error %v, want one that names chmod 600", name, tc.mode, err)
			}
		}
	}
}
