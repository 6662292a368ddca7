package docker

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ownerFile keeps what a data folder is called in the engine.
func ownerFile(dir string) string { return filepath.Join(folder(dir), "owner") }

// ownerOf is the id of a data folder in the engine, made when there is none: two folders never have the same, also when one
// is made anew at the place of another, whose containers are then left over.
func ownerOf(dir string) (string, error) {
	if id, err := readOwner(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	if err := os.MkdirAll(folder(dir), 0o700); err != nil {
		return "", fmt.Errorf("name the data folder's containers: %w", err)
	}
	id := strings.ToLower(rand.Text())
	if err := os.WriteFile(ownerFile(dir), []byte(id+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("name the data folder's containers: %w", err)
	}
	return id, nil
}

// readOwner is the id of a data folder; fs.ErrNotExist when it has none.
func readOwner(dir string) (string, error) {
	text, err := os.ReadFile(ownerFile(dir))
	if err != nil {
		return "", fmt.Errorf("read what the data folder's containers are called: %w", err)
	}
	id := strings.TrimSpace(string(text))
	if len(id) < 12 {
		return "", fmt.Errorf("%s is damaged: bring it back, or remove it and what is left over of it (rollcall leftovers)", ownerFile(dir))
	}
	return id, nil
}
