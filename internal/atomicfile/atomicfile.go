// Package atomicfile stores a value as JSON in a file and replaces the file atomically: after a crash the file has
// either the old or the new value.
package atomicfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// Write replaces a file, which only its owner can read. With durable, the value is on disk when Write returns.
func Write(path string, value any, durable bool) (err error) {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err == nil && durable {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Read reads a value that Write has written. It returns os.ErrNotExist if the file does not exist.
func Read(path string, value any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, value); err != nil {
		return fmt.Errorf("%s is corrupt: %w", path, err)
	}
	return nil
}
