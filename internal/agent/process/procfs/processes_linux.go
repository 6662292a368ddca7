package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// TagVariable is the environment variable that marks the processes of a container. Children inherit it, so a process
// that leaves its session and its parent can still be found.
const TagVariable = "ROLLCALL_CONTAINER_TAG"

// Identity identifies one process uniquely: the kernel reuses a pid, but not for a process that started at the same
// tick of the same boot.
type Identity struct {
	PID   int
	Ticks uint64 // start time in clock ticks since boot: proc_pid_stat(5), field 22
	Boot  string // /proc/sys/kernel/random/boot_id
}

// Identify returns the identity of a process that exists. boot is the current [BootID].
func Identify(pid int, boot string) (Identity, error) {
	stat, err := ReadStat(pid)
	if err != nil {
		return Identity{}, err
	}
	return Identity{PID: pid, Ticks: stat.ticks, Boot: boot}, nil
}

// Alive reports whether the process exists and has not ended. A process that waits to be reaped has ended.
func (id Identity) Alive(boot string) bool {
	if id.PID == 0 || id.Boot != boot {
		return false
	}
	stat, err := ReadStat(id.PID)
	return err == nil && stat.ticks == id.Ticks && !stat.Ended()
}

// Session returns the number of the session that the process leads or led, or 0 if the number may have been reused. The
// kernel does not assign a number to a new process while a session has it.
func (id Identity) Session(boot string) int {
	if id.PID == 0 || id.Boot != boot {
		return 0
	}
	if stat, err := ReadStat(id.PID); err == nil && stat.ticks != id.Ticks {
		return 0
	}
	return id.PID
}

// BootID returns the id of the current boot.
func BootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// Stat is the part of /proc/PID/stat that this package uses.
type Stat struct {
	state   byte
	session int
	ticks   uint64
}

// Ended reports whether the process has ended and waits to be reaped.
func (s Stat) Ended() bool { return s.state == 'Z' || s.state == 'X' }

// ReadStat reads the stat of a process.
func ReadStat(pid int) (Stat, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Stat{}, err
	}
	return parseStat(text)
}

// parseStat parses the fields after the program's name, which may contain spaces and parentheses.
func parseStat(text []byte) (Stat, error) {
	fields := statFields(text)
	if len(fields) < 20 || len(fields[0]) != 1 {
		return Stat{}, errors.New("parse the stat of a process: too few fields")
	}
	session, err := strconv.Atoi(string(fields[3]))
	if err != nil {
		return Stat{}, fmt.Errorf("parse the session of a process: %w", err)
	}
	ticks, err := strconv.ParseUint(string(fields[19]), 10, 64)
	if err != nil {
		return Stat{}, fmt.Errorf("parse the start time of a process: %w", err)
	}
	return Stat{state: fields[0][0], session: session, ticks: ticks}, nil
}

// statFields returns the fields from the third on: field n of proc_pid_stat(5) has the index n-3.
func statFields(text []byte) [][]byte {
	return bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
}

// Process is a live process as [Processes] found it.
type Process struct {
	PID     int
	session int
	tag     string // empty if the process has none, or if it cannot be read
}

// BelongsTo reports whether the process is in the container with this tag and, unless it is 0, this session. The tag of
// a health check is the tag of its container followed by a dot and more.
//
// The session counts as well as the tag, because programs that change their title (nginx, postgres) overwrite their
// environment. A process that does so, and leaves both its session and its parent, is not found.
func (p Process) BelongsTo(tag string, session int) bool {
	if session != 0 && p.session == session {
		return true
	}
	return p.tag == tag || strings.HasPrefix(p.tag, tag+".")
}

// Processes returns the live processes of this machine that this process may see.
func Processes() ([]Process, error) {
	names, err := entries()
	if err != nil {
		return nil, err
	}
	var all []Process
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		stat, err := ReadStat(pid)
		if err != nil || stat.Ended() {
			continue // the process has ended since
		}
		environ, _ := os.ReadFile("/proc/" + name + "/environ") // unreadable: it belongs to another user, so to no container
		all = append(all, Process{PID: pid, session: stat.session, tag: tagIn(environ)})
	}
	return all, nil
}

// entries returns the names in /proc; those of processes are numbers.
func entries() ([]string, error) {
	folder, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	return folder.Readdirnames(-1)
}

func tagIn(environ []byte) string {
	for entry := range bytes.SplitSeq(environ, []byte{0}) {
		if value, found := bytes.CutPrefix(entry, []byte(TagVariable+"=")); found {
			return string(value)
		}
	}
	return ""
}

// SocketInodes returns the inodes of the sockets that a process has open; none if it has ended or cannot be read.
func SocketInodes(pid int) []uint64 {
	folder := "/proc/" + strconv.Itoa(pid) + "/fd"
	files, err := os.ReadDir(folder)
	if err != nil {
		return nil
	}
	var inodes []uint64
	for _, file := range files {
		target, err := os.Readlink(folder + "/" + file.Name())
		if err != nil {
			continue
		}
		number, isSocket := strings.CutPrefix(target, "socket:[")
		if inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64); isSocket && err == nil {
			inodes = append(inodes, inode)
		}
	}
	return inodes
}
