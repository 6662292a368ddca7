package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// tagVariable marks the processes of a container in their environment, which children inherit. A process that leaves its
// session and its parents is still found by it.
const tagVariable = "ROLLCALL_CONTAINER_TAG"

// identity names one process for good: a pid is used again, but not by a process that started at the same tick of the
// same boot.
type identity struct {
	PID   int
	Ticks uint64 // start time in clock ticks since boot: proc_pid_stat(5), field 22
	Boot  string // /proc/sys/kernel/random/boot_id
}

// alive says that the process exists and has not ended; one that waits to be reaped has.
func (id identity) alive(boot string) bool {
	if id.PID == 0 || id.Boot != boot {
		return false
	}
	stat, err := readStat(id.PID)
	return err == nil && stat.ticks == id.Ticks && !stat.ended()
}

// session is the number of the session that the process leads or led, 0 when that number may be another's by now. The
// kernel does not give a number to a new process while a session still goes by it.
func (id identity) session(boot string) int {
	if id.PID == 0 || id.Boot != boot {
		return 0
	}
	if stat, err := readStat(id.PID); err == nil && stat.ticks != id.Ticks {
		return 0
	}
	return id.PID
}

func identify(pid int, boot string) (identity, error) {
	stat, err := readStat(pid)
	if err != nil {
		return identity{}, err
	}
	return identity{PID: pid, Ticks: stat.ticks, Boot: boot}, nil
}

func readBootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("which boot this is: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// procStat is the part of /proc/PID/stat that is used here.
type procStat struct {
	state   byte
	session int
	ticks   uint64
}

func (s procStat) ended() bool { return s.state == 'Z' || s.state == 'X' }

func readStat(pid int) (procStat, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, err
	}
	return parseStat(text)
}

// parseStat reads what follows the program's name, which may hold spaces and parentheses of its own.
func parseStat(text []byte) (procStat, error) {
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 || len(fields[0]) != 1 {
		return procStat{}, errors.New("a process's stat has too few fields")
	}
	session, err := strconv.Atoi(string(fields[3]))
	if err != nil {
		return procStat{}, fmt.Errorf("a process's session: %w", err)
	}
	ticks, err := strconv.ParseUint(string(fields[19]), 10, 64)
	if err != nil {
		return procStat{}, fmt.Errorf("a process's start time: %w", err)
	}
	return procStat{state: fields[0][0], session: session, ticks: ticks}, nil
}

// proc is a live process as a scan saw it.
type proc struct {
	pid, session int
	tag          string // empty when it has none, or it cannot be read
}

// belongsTo says that the process is of the container with this tag and, when not 0, this session. Health checks are
// of their container too: their tags begin with its, and a dot.
//
// The session counts beside the tag since programs that change their title (nginx, postgres) write over their
// environment. A program that does that and also moves to its own session and away from its parent is not found.
func (p proc) belongsTo(tag string, session int) bool {
	if session != 0 && p.session == session {
		return true
	}
	return p.tag == tag || strings.HasPrefix(p.tag, tag+".")
}

// processes lists the live processes of this machine that can be seen.
func processes() ([]proc, error) {
	names, err := procNames()
	if err != nil {
		return nil, err
	}
	var all []proc
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		stat, err := readStat(pid)
		if err != nil || stat.ended() {
			continue // it ended while we looked
		}
		environ, _ := os.ReadFile("/proc/" + name + "/environ") // another user's: not ours, then
		all = append(all, proc{pid: pid, session: stat.session, tag: tagIn(environ)})
	}
	return all, nil
}

// procNames are the entries of /proc, those of processes among them.
func procNames() ([]string, error) {
	folder, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	return folder.Readdirnames(-1)
}

func tagIn(environ []byte) string {
	for entry := range bytes.SplitSeq(environ, []byte{0}) {
		if value, found := bytes.CutPrefix(entry, []byte(tagVariable+"=")); found {
			return string(value)
		}
	}
	return ""
}

// socketInodes are the inodes of the sockets that a process holds; none when it has ended or may not be looked into.
func socketInodes(pid int) []uint64 {
	folder := "/proc/" + strconv.Itoa(pid) + "/fd"
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil
	}
	var inodes []uint64
	for _, entry := range entries {
		target, err := os.Readlink(folder + "/" + entry.Name())
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
