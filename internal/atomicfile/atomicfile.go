// Package atomicfile keeps a value in a file of its own.
package atomicfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// Write replaces a file, which only its owner may read, in one step. With durable, it is on disk when Write returns.
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

// Read reads what Write wrote; os.ErrNotExist where it never did.
func Read(path string, value any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, value); err != nil {
		return fmt.Errorf("%s is damaged: %w", path, err)
	}
	return nil
}
