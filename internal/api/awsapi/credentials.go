package awsapi

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The sources of the root pair. Scripts rely on these names, so they must not change.
const (
	CredentialsFile    = "credentials" // in the data folder
	AccessKeyIDVar     = "ROLLCALL_ACCESS_KEY_ID"
	SecretAccessKeyVar = "ROLLCALL_SECRET_ACCESS_KEY"
)

const secretBytes = 30 // 40 characters of base64

// LoadOrCreate returns the root pair of the server with the data folder dir: from the environment
// (ROLLCALL_ACCESS_KEY_ID, ROLLCALL_SECRET_ACCESS_KEY) if it is set, or else from dir/credentials. If that file does
// not exist, LoadOrCreate creates it, readable only by its owner. A file that other users can read is rejected.
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
		return Load(dir) // another process created the file first; use its pair
	} else if err != nil {
		return Pair{}, fmt.Errorf("create the credentials: %w", err)
	}
	return pair, nil
}

// Load returns the root pair as LoadOrCreate does, but creates none: the error is then fs.ErrNotExist.
func Load(dir string) (Pair, error) {
	pair := Pair{AccessKeyID: os.Getenv(AccessKeyIDVar), Secret: os.Getenv(SecretAccessKeyVar), Role: Administrator}
	if pair.AccessKeyID != "" || pair.Secret != "" {
		if pair.AccessKeyID == "" || pair.Secret == "" {
			return Pair{}, fmt.Errorf("set both %s and %s, or neither", AccessKeyIDVar, SecretAccessKeyVar)
		}
		return pair, pair.check()
	}
	path := filepath.Join(dir, CredentialsFile)
	text, err := readPrivate(path)
	if err != nil {
		return Pair{}, fmt.Errorf("read the credentials: %w", err)
	}
	if pair, err = parseCredentials(string(text)); err != nil {
		return Pair{}, fmt.Errorf("%s: %w; correct the file, or remove it to get a new access key", path, err)
	}
	return pair, nil
}

// readPrivate returns the content of a file, and an error if other users of the machine can read or write it.
func readPrivate(path string) (text []byte, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s is accessible to other users (mode %04o); run chmod 600 on it, or remove it to get a "+
			"new access key", path, mode)
	}
	return io.ReadAll(file)
}

// ReadOnlyOf returns the read-only pair of a root pair. It is derived from the root pair, so every server with the same
// root pair accepts it without storing it, and a new root pair invalidates it. The root secret cannot be derived from
// it.
func ReadOnlyOf(root Pair) (Pair, error) {
	derived, err := hkdf.Key(sha256.New, []byte(root.Secret), []byte(root.AccessKeyID), "rollcall read-only key",
		keyIDBytes+secretBytes)
	if err != nil {
		return Pair{}, fmt.Errorf("derive the read-only key: %w", err)
	}
	return Pair{
		AccessKeyID: "AKIA" + base32.StdEncoding.EncodeToString(derived[:keyIDBytes]),
		Secret:      base64.StdEncoding.EncodeToString(derived[keyIDBytes:]),
		Role:        ReadOnly,
	}, nil
}

// parseCredentials reads the profile [default] of an AWS credentials file ("Configuration and credential file settings"
// in the AWS CLI user guide).
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

// createCredentials writes a new file, either completely or not at all. It does not replace a file (fs.ErrExist).
func createCredentials(path string, pair Pair) error {
	file, err := os.CreateTemp(filepath.Dir(path), CredentialsFile+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }()
	_, err = fmt.Fprintf(file,
		"# Rollcall's administrator key. To get a new one, remove this file and start the server again.\n"+
			"[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", pair.AccessKeyID, pair.Secret)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Link(file.Name(), path) // fails if the name exists, unlike a rename
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}
