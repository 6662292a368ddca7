package awsapi

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Where the root pair comes from. The names are stable: scripts rely on them.
const (
	CredentialsFile    = "credentials" // in the data folder
	AccessKeyIDVar     = "ROLLCALL_ACCESS_KEY_ID"
	SecretAccessKeyVar = "ROLLCALL_SECRET_ACCESS_KEY"
)

const secretBytes = 30 // 40 characters of base64

// LoadOrCreate returns the root pair of the server whose data folder is dir. It is taken from the
// environment (ROLLCALL_ACCESS_KEY_ID, ROLLCALL_SECRET_ACCESS_KEY) if it is set there, else from
// dir/credentials, which is made, readable to its owner only, if it is not there yet.
func LoadOrCreate(dir string) (Pair, error) {
	pair, err := Load(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return pair, err
	}
	pair = Pair{
		AccessKeyID: "AKIA" + base32.StdEncoding.EncodeToString(randomBytes(keyIDBytes)),
		Secret:      base64.StdEncoding.EncodeToString(randomBytes(secretBytes)),
		Role:        Administrator,
	}
	if err := createCredentials(filepath.Join(dir, CredentialsFile), pair); errors.Is(err, fs.ErrExist) {
		return Load(dir) // another process was quicker; both use what it wrote
	} else if err != nil {
		return Pair{}, fmt.Errorf("create the credentials: %w", err)
	}
	return pair, nil
}

// Load is LoadOrCreate for those who only want to know the pair: where there is none it creates nothing,
// and the error is fs.ErrNotExist.
func Load(dir string) (Pair, error) {
	pair := Pair{AccessKeyID: os.Getenv(AccessKeyIDVar), Secret: os.Getenv(SecretAccessKeyVar), Role: Administrator}
	if pair.AccessKeyID != "" || pair.Secret != "" {
		if pair.AccessKeyID == "" || pair.Secret == "" {
			return Pair{}, fmt.Errorf("set both %s and %s, or neither", AccessKeyIDVar, SecretAccessKeyVar)
		}
		return pair, pair.check()
	}
	path := filepath.Join(dir, CredentialsFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return Pair{}, fmt.Errorf("read the credentials: %w", err)
	}
	if pair, err = parseCredentials(string(text)); err != nil {
		return Pair{}, fmt.Errorf("%s: %w; mend it, or remove it to get a new access key", path, err)
	}
	return pair, nil
}

// ReadOnlyOf returns the read-only pair that goes with a root pair. It is derived from it, so every server
// that has the root pair knows it, nothing more is kept, and a new root pair ends both; the root secret does
// not follow from it.
func ReadOnlyOf(root Pair) (Pair, error) {
	derived, err := hkdf.Key(sha256.New, []byte(root.Secret), []byte(root.AccessKeyID), "rollcall read-only key", keyIDBytes+secretBytes)
	if err != nil {
		return Pair{}, fmt.Errorf("derive the read-only key: %w", err)
	}
	return Pair{
		AccessKeyID: "AKIA" + base32.StdEncoding.EncodeToString(derived[:keyIDBytes]),
		Secret:      base64.StdEncoding.EncodeToString(derived[keyIDBytes:]),
		Role:        ReadOnly,
	}, nil
}

// parseCredentials reads profile [default] of an AWS credentials file ("Configuration and credential file
// settings" in the AWS CLI user guide).
func parseCredentials(text string) (Pair, error) {
	pair := Pair{Role: Administrator}
	profile := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "["); ok {
			profile = strings.TrimSpace(strings.TrimSuffix(name, "]"))
			continue
		}
		name, value, _ := strings.Cut(line, "=")
		if profile != "default" {
			continue
		}
		switch strings.TrimSpace(name) {
		case "aws_access_key_id":
			pair.AccessKeyID = strings.TrimSpace(value)
		case "aws_secret_access_key":
			pair.Secret = strings.TrimSpace(value)
		}
	}
	if pair.AccessKeyID == "" || pair.Secret == "" {
		return Pair{}, errors.New("profile [default] lacks aws_access_key_id or aws_secret_access_key")
	}
	return pair, pair.check()
}

// createCredentials writes a new file whole or not at all; it does not replace one (fs.ErrExist).
func createCredentials(path string, pair Pair) error {
	file, err := os.CreateTemp(filepath.Dir(path), CredentialsFile+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = fmt.Fprintf(file, "# Rollcall's administrator key, made at the first start. A new one: remove this file and start again.\n"+
		"[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", pair.AccessKeyID, pair.Secret)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Link(file.Name(), path) // unlike a rename, fails if the name is taken
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}
