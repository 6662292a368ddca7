package clients

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/test/harness"
)

// demo is a run of `rollcall demo` with a new binary and a new folder for temporary files, by which the test finds
// every process and file of it.
type demo struct {
	t         *testing.T
	binary    string
	tmp       string
	cmd       *exec.Cmd
	out, errs *harness.Output
	done      chan struct{} // closed when the process has ended
}

// user is a user of this machine who runs a demo, with a runtime.
type user struct{ name, uid, runtime string }

// ordinary is a user without privileges and without a home folder.
var ordinary = user{"ordinary user", "65534", "process"}

// containers is root, with a Docker Engine.
var containers = user{"root with Docker", "", "docker"}

// users returns the users whom this test may become: its own, and an ordinary one if its own is root.
func users() []user {
	if os.Getuid() != 0 {
		return []user{{"ordinary user", "", "process"}, containers}
	}
	return []user{{"root", "", "process"}, ordinary, containers}
}

// startDemo starts a demo as a user.
func startDemo(t *testing.T, as user, flags ...string) *demo {
	t.Helper()
	// Another user may not enter a folder of t.TempDir.
	dir, err := os.MkdirTemp("", "rollcall-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &demo{t: t, binary: filepath.Join(dir, "rollcall"), tmp: filepath.Join(dir, "tmp"), out: &harness.Output{},
		errs: &harness.Output{}, done: make(chan struct{})}
	text, err := os.ReadFile(harness.BuiltBinary(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.Chmod(dir, 0o755), os.WriteFile(d.binary, text, 0o755), os.Mkdir(d.tmp, 0o700)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	d.cmd = exec.Command(d.binary, append([]string{"demo"}, flags...)...)
	d.cmd.Dir = dir
	d.cmd.Env = append(harness.UserEnviron(), "TMPDIR="+d.tmp)
	d.cmd.Stdout, d.cmd.Stderr = d.out, d.errs
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C signals the whole group
	if as.uid != "" {
		id := harness.Must(strconv.Atoi(as.uid))(t)
		if err := os.Chown(d.tmp, id, id); err != nil {
			t.Fatal(err)
		}
		d.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(id), Gid: uint32(id)}
		d.cmd.Env = append(d.cmd.Env, "HOME=/nonexistent")
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		d.cmd.Wait()
		close(d.done)
	}()
	t.Cleanup(d.end)
	return d
}

// end ends the demo, and its processes and containers if a failed test left any.
func (d *demo) end() {
	select {
	case <-d.done:
	default:
		d.cmd.Process.Kill()
		<-d.done
	}
	for _, pid := range d.processes() {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	for _, data := range d.dataFolders() {
		if err := (&harness.Engine{}).Remove(data); err != nil {
			d.t.Error(err)
		}
	}
	if d.t.Failed() {
		d.t.Logf("stdout:\n%s\nstderr:\n%s", d.out, d.errs)
	}
}

// processes returns the pids of the processes that run the demo's binary.
func (d *demo) processes() (pids []int) {
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		d.t.Error(err)
	}
	for _, link := range links {
		if exe, err := os.Readlink(link); err == nil && strings.TrimSuffix(exe, " (deleted)") == d.binary {
			pid, _ := strconv.Atoi(strings.Split(link, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

// dataFolders returns the data folders of which a container engine still has objects.
func (d *demo) dataFolders() (dirs []string) {
	for _, list := range [][]string{{"ps", "-a"}, {"network", "ls"}} {
		all, _ := (&harness.Engine{}).TryCommand(append(list, "--filter", "label="+harness.LabelData, "--format",
			`{{.Label "`+harness.LabelData+`"}}`)...)
		for dir := range strings.FieldsSeq(all) {
			if strings.HasPrefix(dir, d.tmp+"/") {
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs
}

// waitFor waits until the demo has printed a text.
func (d *demo) waitFor(text string) {
	d.t.Helper()
	harness.Eventually(d.t, time.Minute, fmt.Sprintf("the demo prints %q", text), func() bool {
		select {
		case <-d.done:
			d.t.Fatalf("the demo ended (%v) before it printed %q", d.cmd.ProcessState, text)
		default:
		}
		return strings.Contains(d.out.String(), text)
	})
}

// interrupt sends what Ctrl-C sends, and waits until the demo has ended.
func (d *demo) interrupt() {
	d.t.Helper()
	syscall.Kill(-d.cmd.Process.Pid, syscall.SIGINT)
	harness.WaitClosed(d.t, 30*time.Second, "the demo has ended after Ctrl-C", d.done)
}

// checkNothingLeft checks that no process, file or container is left. A supervisor that was starting when the demo was
// interrupted takes some seconds to notice that it has no server.
func (d *demo) checkNothingLeft() {
	d.t.Helper()
	harness.Eventually(d.t, 20*time.Second, "all processes have ended", func() bool { return len(d.processes()) == 0 })
	if left, err := os.ReadDir(d.tmp); err != nil || len(left) > 0 {
		d.t.Errorf("the demo left files: %v, %v", left, err)
	}
	if left := d.dataFolders(); len(left) > 0 {
		d.t.Errorf("the engine still has objects of %v", left)
	}
}

// TestDemo runs the demo until it is ready, follows its hints, and presses Ctrl-C.
func TestDemo(t *testing.T) {
	t.Parallel()
	for _, as := range users() {
		t.Run(as.name, func(t *testing.T) {
			t.Parallel()
			if as == containers {
				harness.RequireEngine(t)
			}
			d := startDemo(t, as, "--runtime", as.runtime, "--api", "127.0.0.1:0", "--dns", "127.0.0.1:0")
			d.waitFor("ready: press Ctrl-C")
			output := d.out.String()
			work := regexp.MustCompile(`Worker Message: 1229 primes below 10000 From: ((?:127|10)\.[0-9.]+)\n`)
			first := work.FindStringSubmatch(output)
			hints := regexp.MustCompile(
				`dig @(\S+) -p (\S+) (\S+)\n  curl (\S+)\n  eval "\$\((.*)\)"\n`).FindStringSubmatch(output)
			if first == nil || hints == nil {
				t.Fatalf("the demo prints no work, or no hints:\n%s", output)
			}
			s := harness.NewServer(t, "", nil)
			s.Info.DNS = []string{net.JoinHostPort(hints[1], hints[2])}
			var workers []string
			for ip := range s.Lookup(hints[3]) {
				workers = append(workers, ip.String())
			}
			resp := harness.Must(http.Get(hints[4]))(t)
			defer resp.Body.Close()
			again := work.FindStringSubmatch(string(harness.Must(io.ReadAll(resp.Body))(t)))
			if again == nil || len(workers) != 2 || !slices.Contains(workers, first[1]) ||
				!slices.Contains(workers, again[1]) {
				t.Errorf("the workers were %v, then %v; DNS answers %v", first, again, workers)
			}
			env := exec.Command("sh", "-c", hints[5])
			env.Env = d.cmd.Env
			env.SysProcAttr = &syscall.SysProcAttr{Credential: d.cmd.SysProcAttr.Credential}
			if exports, err := env.Output(); err != nil ||
				!strings.Contains(string(exports), "AWS_ENDPOINT_URL=http://127.0.0.1:") {
				t.Errorf("%s prints %q, %v", hints[5], exports, err)
			}
			// An ordinary user may not listen on port 53.
			if as == ordinary &&
				!strings.Contains(output,
					"tasks can resolve names only at $ROLLCALL_DNS, not through the C library: port 53") {
				t.Errorf("the demo does not report that tasks have no resolver:\n%s", output)
			}

			d.interrupt()
			if status := d.cmd.ProcessState.ExitCode(); status != 0 {
				t.Errorf("exit status %d after Ctrl-C, want 0", status)
			}
			d.checkNothingLeft()
		})
	}
}

// TestDemoInterrupted presses Ctrl-C before the demo is ready.
func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"starting the server", "namespace corp", "worker: 2 pending"} {
		d := startDemo(t, user{}, "--runtime", "process", "--api", "127.0.0.1:0", "--dns", "127.0.0.1:0")
		d.waitFor(at)
		d.interrupt()
		if status := d.cmd.ProcessState.ExitCode(); status != 0 || d.errs.String() != "" {
			t.Errorf("Ctrl-C at %q: exit status %d, stderr %q; want a clean stop", at, status, d.errs)
		}
		d.checkNothingLeft()
	}
}

// TestDemoPortTaken starts the demo with a port in use. It must name the flag that helps, and leave nothing.
func TestDemoPortTaken(t *testing.T) {
	t.Parallel()
	api := harness.Must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer api.Close()
	dns := harness.Must(net.ListenPacket("udp", "127.0.0.1:0"))(t)
	defer dns.Close()
	for _, tc := range []struct {
		flags []string
		want  string
	}{
		{[]string{"--runtime", "process", "--api", api.Addr().String(), "--dns", "127.0.0.1:0"}, "--api 127.0.0.1:0"},
		{[]string{"--runtime", "process", "--api", "127.0.0.1:0", "--dns", dns.LocalAddr().String()}, "--dns"},
	} {
		d := startDemo(t, user{}, tc.flags...)
		select {
		case <-d.done:
		case <-time.After(3 * time.Minute):
			t.Fatalf("the demo with %q did not end", tc.flags)
		}
		stderr := d.errs.String()
		if status := d.cmd.ProcessState.ExitCode(); status != 1 || strings.Count(stderr, "\n") != 1 ||
			!strings.Contains(stderr, tc.want) {
			t.Errorf("demo %q: exit status %d, stderr %q; want 1 and one line with %q", tc.flags, status, stderr,
				tc.want)
		}
		d.checkNothingLeft()
	}
}
