// Package containerlog keeps what containers print, with the time at which each line was seen, within bounds.
//
// A program writes straight into a file, so that no death of Rollcall's can give it a broken pipe or hold it up. A
// [Writer] in the process that supervises it looks at the file whenever it has grown and notes from which position on
// the bytes are of which time; it also cuts the file before it grows too long. Whoever wants to read, in whatever
// process, does so by [Read] and [Seek]. [Catalog] knows all the logs of a node, those of ended tasks too.
//
//	ROOT/TASK/CONTAINER/log        what it prints now; log.1 and log.2 hold what it printed before
//	                    times      marks, one for each look that found more; times.1 and times.2 go with log.1 and log.2
//	                    ended      is there when nothing more will come
//	                    stream     the CloudWatch Logs stream that it is to be read as; absent: none
//
// A position counts the bytes that the container has printed since it started. Cutting a file does not move it, so that
// it names a line for good. What is promised: a log takes at most 3 × [MaxFile] and what its program writes between two
// looks; lines come in their order with times that never fall; a reader sees no line twice and no line in pieces,
// except one longer than [MaxLine], and what was cut away while nobody had read it is missing, whole lines of it.
//
// It knows neither tasks nor AWS.
package containerlog

import (
	"encoding/binary"
	"os"
	"path/filepath"
)

// The bounds of one container's log.
const (
	MaxFile  = 10 << 20  // bytes of each of its files
	MaxLine  = 256 << 10 // bytes; a longer line is read as several
	files    = 3
	maxMarks = 1 << 16 // of one file: a megabyte
)

// Root is where the logs of a data folder's tasks lie. They outlive their tasks; whoever reads them also removes them.
func Root(dataDir string) string { return filepath.Join(dataDir, "logs") }

// Folder is where a container's log lies.
func Folder(root, taskID, container string) string { return filepath.Join(root, taskID, container) }

// File is what a container writes to.
func File(dir string) string { return filepath.Join(dir, "log") }

// nth is the name of a file's nth predecessor.
func nth(dir, name string, n int) string {
	if n == 0 {
		return filepath.Join(dir, name)
	}
	return filepath.Join(dir, name+"."+string(rune('0'+n)))
}

const endedFile = "ended"

// Ended reports whether nothing more will come.
func Ended(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, endedFile))
	return err == nil
}

// mark says that the bytes before a position were seen at a time, as far as no earlier mark says it of them. The first of
// a file is its base, the position of the file's first byte.
type mark struct {
	pos  int64
	time int64 // Unix, in milliseconds
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
