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

var shared = &engine{}

// The labels of all that is Rollcall's.
const (
	labelData = harness.LabelData
	labelTask = harness.LabelTask
)

// How the tests' folders are called, before the test's process id: data folders, by which the labels tell whose a
// container is, and those of engines.
const (
	folders       = "rollcall-docker-test-"
	engineFolders = "rollcall-docker-engine-"
)

// dataFolder is a new data folder; what the engine has of it goes with the test.
func (e *engine) dataFolder(t testing.TB) string {
	t.Helper()
	dir := harness.Must(os.MkdirTemp("", folders+strconv.Itoa(os.Getpid())+"-"))(t)
	t.Cleanup(func() {
		if err := e.Remove(dir); err != nil {
			t.Errorf("remove what the test has made: %v", err)
		}
		os.RemoveAll(dir)
	})
	return dir
}

// sweep removes what test runs have left that have ended.
func (e *engine) sweep() {
	engines, _ := filepath.Glob(filepath.Join(os.TempDir(), engineFolders+"*"))
	for _, dir := range engines {
		if left(dir, engineFolders) {
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
		if !left(dir, folders) {
			continue
		}
		killAll(dir)
		if err := e.Remove(dir); err != nil {
			fmt.Fprintln(os.Stderr, "remove what an earlier test run has left:", err)
			continue
		}
		os.RemoveAll(dir)
	}
}

// left says that a folder is one of the tests', of a run that has ended.
func left(dir, prefix string) bool {
	of, ours := strings.CutPrefix(filepath.Base(dir), prefix)
	pid, err := strconv.Atoi(strings.SplitN(of, "-", 2)[0])
	return ours && err == nil && (pid == os.Getpid() || syscall.Kill(pid, 0) != nil)
}

// killAll kills the servers and engines of a folder, which a test run that was killed has left.
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

// clients is the image of programs that look names up.
func clients(t testing.TB) string {
	t.Helper()
	harness.RequireEngine(t)
	name, err := clientsImage()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := shared.TryCommand("image", "inspect", name); err != nil {
		harness.SkipMissing(t, "the image "+name)
	}
	return name
}

var clientsImage = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("scripts/test-image.sh", "name")
	cmd.Dir = source.Root()
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
})

// removeMounted removes a folder in which something may be mounted.
func removeMounted(dir string) {
	mounts, err := os.Open("/proc/self/mounts")
	if err != nil {
		return
	}
	defer mounts.Close()
	var in []string
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 1 && (fields[1] == dir || strings.HasPrefix(fields[1], dir+"/")) {
			in = append([]string{fields[1]}, in...)
		}
	}
	for _, at := range in {
		syscall.Unmount(at, syscall.MNT_DETACH)
	}
	os.RemoveAll(dir)
}
