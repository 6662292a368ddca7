// Package containerlog stores the output of containers in files of limited size, with the time of each line.
//
// A program writes directly to a file, so that a crash of Rollcall neither blocks it nor breaks a pipe. A [Writer] in
// the process that supervises the program records the time of new bytes whenever the file has grown, and rotates the
// file before it becomes too large. Any process can read a log with [Read] and [Seek]. [Merge] reads several logs in
// the order of time. A [Catalog] lists all logs of a node, including those of ended tasks.
//
//	ROOT/TASK/CONTAINER/log        the current output; log.1 and log.2 hold older output
//	                    times      marks, one for each growth of the file; times.1 and times.2 belong to log.1 and log.2
//	                    ended      exists if no more output will come
//	                    stream     the CloudWatch Logs stream that shows the log; absent if there is none
//
// A position is the number of bytes that the container had printed before. Rotation does not change positions, so a
// position identifies a line permanently.
//
// The package promises that
//
//   - a log uses at most 3 × [MaxFile], plus what its program writes between two calls of [Writer.Record];
//   - lines are returned in order, with times that never decrease;
//   - a reader receives each line at most once and complete, unless it is longer than [MaxLine];
//   - output that is rotated away before it is read is missing as whole lines.
//
// It does not know tasks or AWS.
package containerlog

import (
	"encoding/binary"
	"os"
	"path/filepath"
)

// Limits of the log of one container.
const (
	MaxFile  = 10 << 20  // size of each file in bytes
	MaxLine  = 256 << 10 // bytes; a longer line is returned as several lines
	files    = 3
	maxMarks = 1 << 16 // per file; one megabyte
)

// Root returns the folder with the logs of a data folder's tasks. Logs outlive their tasks; the agent removes them.
func Root(dataDir string) string { return filepath.Join(dataDir, "logs") }

// Folder returns the folder of a container's log.
func Folder(root, taskID, container string) string { return filepath.Join(root, taskID, container) }

// File returns the file that a container writes to.
func File(dir string) string { return filepath.Join(dir, "log") }

// nth returns the name of the nth older version of a file.
func nth(dir, name string, n int) string {
	if n == 0 {
		return filepath.Join(dir, name)
	}
	return filepath.Join(dir, name+"."+string(rune('0'+n)))
}

const endedFile = "ended"

// Ended reports whether no more output will come.
func Ended(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, endedFile))
	return err == nil
}

// A mark records the time of the bytes between the previous mark and a position. The first mark of a file is its base:
// the position of the file's first byte.
type mark struct {
	pos  int64
	time int64 // Unix time in milliseconds
}

const markSize = 16

func (m mark) bytes() []byte {
	b := make([]byte, 0, markSize)
	b = binary.BigEndian.AppendUint64(b, uint64(m.pos))
	return binary.BigEndian.AppendUint64(b, uint64(m.time))
}

func parseMark(b []byte) mark {
	return mark{int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))}
}
