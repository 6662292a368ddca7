package docker

import (
	"flag"
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
)

func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("test.parallel", "3") // most of the time they wait: for containers, for time-outs, for TTLs
	shared.sweep()
	status := m.Run()
	shared.sweep()
	harness.Clean()
	os.Exit(status)
}

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
	dir := harness.Must[string](t)(os.MkdirTemp("", folders+strconv.Itoa(os.Getpid())+"-"))
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
		out, err := e.Try(list...)
		if err != nil {
			return // no engine
		}
		for dir := range strings.FieldsSeq(out) {
			seen[dir] = true
		}
	}
	if images, err := e.Try("image", "ls", "-q", "--filter", "label="+labelData); err == nil && images != "" {
		format := `{{index .Config.Labels "` + labelData + `"}}`
		out, _ := e.Try(append([]string{"image", "inspect", "--format", format}, strings.Fields(images)...)...)
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
	harness.NeedEngine(t)
	name, err := clientsImage()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := shared.Try("image", "inspect", name); err != nil {
		harness.Missing(t, "the image "+name)
	}
	return name
}

var clientsImage = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("scripts/test-image.sh", "name")
	cmd.Dir = harness.Repository()
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
})

// server is a server whose tasks are containers.
type server struct {
	*harness.Server
	engine *engine
	flags  []string
}

// serve starts a server on the machine's engine.
func serve(t testing.TB, flags ...string) *server {
	t.Helper()
	harness.NeedEngine(t)
	return shared.serve(t, flags...)
}

func (e *engine) serve(t testing.TB, flags ...string) *server {
	t.Helper()
	return e.serveOn(t, e.dataFolder(t), flags...)
}

// serveOn starts a server on a data folder.
func (e *engine) serveOn(t testing.TB, dir string, flags ...string) *server {
	t.Helper()
	s, err := e.start(t, dir, flags...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// start is serveOn; an error says how the server ended.
func (e *engine) start(t testing.TB, dir string, flags ...string) (*server, error) {
	t.Helper()
	args := append([]string{"serve", "--data", dir, "--api", "127.0.0.1:0", "--dns", "127.0.0.1:0", "--node", "test", "--runtime", "docker"}, flags...)
	cmd := exec.Command(harness.Built(t), args...)
	cmd.Env = append(harness.UserEnviron(), "XDG_RUNTIME_DIR="+dir)
	if e.Host != "" {
		cmd.Env = append(cmd.Env, "DOCKER_HOST="+e.Host)
	}
	s := &server{harness.Prepare(t, dir, cmd), e, flags}
	return s, s.Launch()
}

// again kills the server, as a power cut would, and starts the next on its folder.
func (s *server) again() *server {
	s.T.Helper()
	s.Kill()
	return s.engine.serveOn(s.T, s.Dir, s.flags...)
}
