// Package atomicfile replaces a file atomically: after a crash the file has either the old or the new content. [Write]
// and [Read] store a value as JSON.
package atomicfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// Write replaces a file by the JSON of a value. Only the owner can read it. With durable, the value is on disk when
// Write returns.
func Write(path string, value any, durable bool) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return WriteText(path, text, durable)
}

// WriteText replaces a file by a text, as Write does.
func WriteText(path string, text []byte, durable bool) error {
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
