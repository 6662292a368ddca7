package engineapi

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Folder returns the folder inside a data folder in which the Docker runtime keeps its files.
func Folder(dataDir string) string { return filepath.Join(dataDir, "docker") }

// OwnerFile returns the file that holds the owner id of a data folder.
func OwnerFile(dataDir string) string { return filepath.Join(Folder(dataDir), "owner") }

// Owner returns the owner id of a data folder and creates it if there is none. Ids are random: a data folder that is
// deleted and created again at the same path gets a new id, so the containers of the old one count as leftovers.
func Owner(dataDir string) (string, error) {
	if id, err := ReadOwner(dataDir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	if err := os.MkdirAll(Folder(dataDir), 0o700); err != nil {
		return "", fmt.Errorf("create the owner id of the data folder: %w", err)
	}
	id := strings.ToLower(rand.Text())
	if err := os.WriteFile(OwnerFile(dataDir), []byte(id+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("create the owner id of the data folder: %w", err)
	}
	return id, nil
}

// ReadOwner returns the owner id of a data folder. The error wraps fs.ErrNotExist if the folder has none.
func ReadOwner(dataDir string) (string, error) {
	text, err := os.ReadFile(OwnerFile(dataDir))
	if err != nil {
		return "", fmt.Errorf("read the owner id of the data folder: %w", err)
	}
	id := strings.TrimSpace(string(text))
	if len(id) < minOwnerLength {
		return "", fmt.Errorf("%s is damaged; restore it, or delete it and remove its containers (rollcall leftovers)",
			OwnerFile(dataDir))
	}
	return id, nil
}

// minOwnerLength is the number of characters of an owner id that names of networks and containers contain.
const minOwnerLength = 12

// ShortOwner returns the part of an owner id that goes into names, which Docker and Linux limit in length.
func ShortOwner(owner string) string { return owner[:min(len(owner), minOwnerLength)] }
