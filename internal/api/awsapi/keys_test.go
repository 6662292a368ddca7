package awsapi

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
)

func TestSessions(t *testing.T) {
	keys := newKeys(t)
	s := keys.Issue(ReadOnly, noon.Add(time.Hour+time.Millisecond))
	if !s.Expires.Equal(noon.Add(time.Hour)) {
		t.Errorf("expires %v, want it truncated to the second", s.Expires)
	}
	if !regexp.MustCompile(`^ASIA[A-Z2-7]{16}$`).MatchString(s.AccessKeyID) || len(s.Secret) != 40 {
		t.Errorf("key %q with a secret of %d characters", s.AccessKeyID, len(s.Secret))
	}
	if other := keys.Issue(ReadOnly, s.Expires); other.AccessKeyID == s.AccessKeyID || other.Secret == s.Secret {
		t.Error("two sessions share an id or a secret")
	}

	want := Credential{Secret: s.Secret, Role: ReadOnly, Temporary: true}
	for name, k := range map[string]*Keys{"the same process": keys, "after a restart": newKeys(t)} {
		if got, err := k.Lookup(s.AccessKeyID, s.SessionToken, s.Expires.Add(-time.Second)); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	changed, err := NewKeys(Pair{AccessKeyID: root.AccessKeyID, Secret: "new", Role: Administrator})
	if err != nil {
		t.Fatal(err)
	}
	// the token of an administrator's session, if the role were not authenticated
	tampered := "AQI" + s.SessionToken[3:]
	if !strings.HasPrefix(keys.Issue(Administrator, noon).SessionToken, "AQE") ||
		!strings.HasPrefix(s.SessionToken, "AQI") {
		t.Fatal("the role is not in the first bytes of the token")
	}
	tampered = "AQE" + tampered[3:]
	for _, tc := range []struct {
		name  string
		keys  *Keys
		token string
		now   time.Time
		code  string
	}{
		{"expired", keys, s.SessionToken, s.Expires, "ExpiredTokenException"},
		{"another root secret", changed, s.SessionToken, noon, "UnrecognizedClientException"},
		{"another role", keys, tampered, noon, "UnrecognizedClientException"},
		{"truncated", keys, s.SessionToken[:len(s.SessionToken)-2], noon, "UnrecognizedClientException"},
		{"no token", keys, "", noon, "UnrecognizedClientException"},
	} {
		_, err := tc.keys.Lookup(s.AccessKeyID, tc.token, tc.now)
		var wire *Error
		if !errors.As(err, &wire) || wire.Code != tc.code {
			t.Errorf("%s: got %v, want %s", tc.name, err, tc.code)
		}
	}
}

func TestNewKeysErrors(t *testing.T) {
	for name, pairs := range map[string][]Pair{
		"no id":            {{Secret: "x"}},
		"no secret":        {{AccessKeyID: "x"}},
		"slash in the id":  {{AccessKeyID: "a/b", Secret: "x"}},
		"space in secret":  {{AccessKeyID: "a", Secret: "x y"}},
		"one id, two keys": {root, root},
	} {
		if _, err := NewKeys(pairs[0], pairs[1:]...); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestLoadOrCreate(t *testing.T) {
	t.Setenv(AccessKeyIDVar, "")
	t.Setenv(SecretAccessKeyVar, "")
	dir := t.TempDir()
	if _, err := Load(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load from an empty folder: %v, want fs.ErrNotExist", err)
	}

	// Servers that start simultaneously with the same folder use the same pair.
	made := make([]Pair, 8)
	var wg sync.WaitGroup
	for i := range made {
		wg.Go(func() {
			var err error
			if made[i], err = LoadOrCreate(dir); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	pair := made[0]
	for _, other := range made {
		if other != pair {
			t.Errorf("two servers use different pairs: %s and %s", pair.AccessKeyID, other.AccessKeyID)
		}
	}
	if !regexp.MustCompile(`^AKIA[A-Z2-7]{16}$`).MatchString(pair.AccessKeyID) || len(pair.Secret) != 40 ||
		pair.Role != Administrator {
		t.Errorf("made %+v", pair)
	}
	path := filepath.Join(dir, CredentialsFile)
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("the folder contains %d files (%v), want 1", len(files), err)
	}

	// The SDK reads the same pair from the file.
	profile, err := config.LoadSharedConfigProfile(t.Context(), "default", func(o *config.LoadSharedConfigOptions) {
		o.CredentialsFiles, o.ConfigFiles = []string{path}, []string{}
	})
	if err != nil || profile.Credentials.AccessKeyID != pair.AccessKeyID ||
		profile.Credentials.SecretAccessKey != pair.Secret {
		t.Errorf("the SDK reads %s from the file (%v), want %s", profile.Credentials.AccessKeyID, err, pair.AccessKeyID)
	}

	t.Setenv(AccessKeyIDVar, "test")
	if _, err := LoadOrCreate(dir); err == nil || !strings.Contains(err.Error(), SecretAccessKeyVar) {
		t.Errorf("only the id in the environment: %v", err)
	}
	t.Setenv(SecretAccessKeyVar, "secret")
	if got, err := LoadOrCreate(dir); err != nil || got != (Pair{"test", "secret", Administrator}) {
		t.Errorf("from the environment: %+v, %v", got, err)
	}
}

func TestParseCredentials(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{ // want: ID SECRET, or part of the error
		{"plain", "[default]\naws_access_key_id = A\naws_secret_access_key = s=+/\n", "A s=+/"},
		{"untidy",
			"# c\r\n\r\n [ default ] \r\naws_access_key_id=A\r\n; c\r\naws_secret_access_key\t=\ts\r\nregion = x",
			"A s"},
		{"between other profiles",
			"[a]\naws_access_key_id = X\n[default]\naws_access_key_id = A\naws_secret_access_key = s\n" +
				"[b]\naws_secret_access_key = y\n", "A s"},
		{"other profile", "[a]\naws_access_key_id = A\naws_secret_access_key = s\n", "profile [default] lacks"},
		{"no secret", "[default]\naws_access_key_id = A\n", "profile [default] lacks"},
		{"empty", "", "profile [default] lacks"},
		{"invalid id", "[default]\naws_access_key_id = a b\naws_secret_access_key = s\n", "letters, digits"},
	} {
		pair, err := parseCredentials(tc.text)
		got := pair.AccessKeyID + " " + pair.Secret
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, tc.want) {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}
