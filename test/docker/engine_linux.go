package docker

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/bakingclouds/rollcall/test/harness"
	"github.com/bakingclouds/rollcall/test/harness/source"
)

// engine is a Docker Engine.
type engine struct{ harness.Engine }

// shared is the engine of this machine.
var shared = &engine{}

// The labels of every object that Rollcall creates in an engine.
const (
	labelData = harness.LabelData
	labelTask = harness.LabelTask
)

// Prefixes of the names of folders: of data folders, by which the labels of an object identify its test, and of the
// folders of engines. The process id of the test run follows.
const (
	folders       = "rollcall-docker-test-"
	engineFolders = "rollcall-docker-engine-"
)

// dataFolder returns a new data folder. The engine's objects of this folder are removed at the end of the test.
func (e *engine) dataFolder(t testing.TB) string {
	t.Helper()
	dir := harness.Must(os.MkdirTemp("", folders+strconv.Itoa(os.Getpid())+"-"))(t)
	t.Cleanup(func() {
		if err := e.Remove(dir); err != nil {
			t.Errorf("remove the objects of the test: %v", err)
		}
		os.RemoveAll(dir)
	})
	return dir
}

// sweep removes what earlier test runs have left.
func (e *engine) sweep() {
	engines, _ := filepath.Glob(filepath.Join(os.TempDir(), engineFolders+"*"))
	for _, dir := range engines {
		if isAbandoned(dir, engineFolders) {
			killAll(dir)
			removeMounted(dir)
		}
	}
	seen := map[string]bool{}
	for _, list := range [][]string{
		{"ps", "-a", "--filter", "label=" + labelData, "--format", `{{.Label "` + labelData + `"}}`},
		{"network", "ls", "--filter", "label=" + labelData, "--format", `{{.Label "` + labelData + `"}}`},
		{"volume", "ls", "--filter", "label=" + labelData, "--format", `{{.Label "` + labelData + `"}}`},
	} {
		out, err := e.TryCommand(list...)
		if err != nil {
			return // no engine
		}
		for dir := range strings.FieldsSeq(out) {
			seen[dir] = true
		}
	}
	if images, err := e.TryCommand("image", "ls", "-q", "--filter", "label="+labelData); err == nil && images != "" {
		format := `{{index .Config.Labels "` + labelData + `"}}`
		out, _ := e.TryCommand(append([]string{"image", "inspect", "--format", format}, strings.Fields(images)...)...)
		for dir := range strings.FieldsSeq(out) {
			seen[dir] = true
		}
	}
	servers, _ := filepath.Glob(filepath.Join(os.TempDir(), folders+"*"))
	for _, dir := range servers {
		seen[dir] = true
	}
	for dir := range seen {
		if !isAbandoned(dir, folders) {
			continue
		}
		killAll(dir)
		if err := e.Remove(dir); err != nil {
			fmt.Fprintln(os.Stderr, "remove the objects of an earlier test run:", err)
			continue
		}
		os.RemoveAll(dir)
	}
}

// isAbandoned reports whether a folder belongs to a test run that has ended.
func isAbandoned(dir, prefix string) bool {
	rest, ok := strings.CutPrefix(filepath.Base(dir), prefix)
	pid, err := strconv.Atoi(strings.SplitN(rest, "-", 2)[0])
	return ok && err == nil && (pid == os.Getpid() || syscall.Kill(pid, 0) != nil)
}

// killAll kills the servers and engines of a folder, which a test run left when it was killed.
func killAll(dir string) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range all {
		args, _ := os.ReadFile(file)
		pid, _ := strconv.Atoi(strings.Split(file, "/")[2])
		if words := string(args); strings.Contains(words, "\x00"+dir+"\x00") || strings.Contains(words, dir+"/") {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// clientsImage returns the name of the image with the programs that resolve names.
func clientsImage(t testing.TB) string {
	t.Helper()
	harness.RequireEngine(t)
	name, err := clientsImageName()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := shared.TryCommand("image", "inspect", name); err != nil {
		harness.SkipMissing(t, "the image "+name)
	}
	return name
}

var clientsImageName = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("scripts/test-image.sh", "name")
	cmd.Dir = source.Root()
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
})

// removeMounted removes a folder in which file systems may be mounted.
func removeMounted(dir string) {
	mounts, err := os.Open("/proc/self/mounts")
	if err != nil {
		return
	}
	defer mounts.Close()
	var in []string
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 1 &&
			(fields[1] == dir || strings.HasPrefix(fields[1], dir+"/")) {
			in = append([]string{fields[1]}, in...)
		}
	}
	for _, at := range in {
		syscall.Unmount(at, syscall.MNT_DETACH)
	}
	os.RemoveAll(dir)
}
