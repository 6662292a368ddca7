package process

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
)

// showResolver runs a task that prints its address, its user and its resolv.conf, and whose health check reads
// resolv.conf. It returns the address and the output.
func showResolver(ctx context.Context, dir string) (string, error) {
	r, err := New(ctx, Config{Dir: dir})
	if err != nil {
		return "", err
	}
	defer r.Shutdown(ctx)
	spec := shellTask("resolver",
		"echo $ROLLCALL_ADDRESS; id -u; grep CapEff /proc/self/status; cat /etc/resolv.conf; exec sleep 1000")
	spec.Resolver = &agent.Resolver{Search: []string{"corp"}}
	spec.Containers[0].HealthCheck = &agent.HealthCheck{
		Command: []string{"CMD-SHELL", "grep -q $ROLLCALL_ADDRESS /etc/resolv.conf"},
	}
	sandbox, err := r.Create(ctx, spec)
	if err != nil || !sandbox.Resolver {
		return "no private resolver", err
	}
	if err := r.StartContainer(ctx, "resolver", "main"); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		select {
		case e := <-r.Events():
			if e.Status.Health == agent.HealthHealthy {
				text, err := os.ReadFile(LogFile(dir, "resolver", "main"))
				return sandbox.Address.String() + "\n" + string(text), err
			}
		case <-ctx.Done():
			return "never healthy", ctx.Err()
		}
	}
}

// checkResolver checks the result of showResolver: address, $ROLLCALL_ADDRESS, user, capabilities, resolv.conf.
func checkResolver(t *testing.T, got, uid, capabilities string) {
	t.Helper()
	lines := strings.SplitN(got, "\n", 5)
	if len(lines) != 5 || lines[1] != lines[0] || lines[2] != uid {
		t.Fatalf("the container printed %q; want its address, user %s and resolv.conf", got, uid)
	}
	if capabilities != "" && !strings.HasSuffix(lines[3], capabilities) {
		t.Errorf("the container has capabilities %q, want %s", lines[3], capabilities)
	}
	if want := "# Written by Rollcall for this task.\nnameserver " + lines[0] + "\nsearch corp\n"; lines[4] != want {
		t.Errorf("resolv.conf in the container is %q, want %q", lines[4], want)
	}
}

const resolvConf = "/etc/resolv.conf"

// missing skips a test for which the machine lacks something. In CI it fails the test.
func missing(t *testing.T, why ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why...)
	}
	t.Skip(why...)
}

func TestPrivateResolver(t *testing.T) {
	t.Parallel()
	if err := CanMountResolver(t.Context()); err != nil {
		missing(t, "no private files on this machine: ", err)
	}
	before, err := os.ReadFile(resolvConf)
	if err != nil {
		t.Fatal(err)
	}
	got, err := showResolver(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	capabilities := "0000000000000000"
	if os.Geteuid() == 0 {
		capabilities = "" // root keeps what it has
	}
	checkResolver(t, got, strconv.Itoa(os.Geteuid()), capabilities)
	if after, err := os.ReadFile(resolvConf); err != nil || string(after) != string(before) {
		t.Errorf("the machine's %s has changed: %q, %v", resolvConf, after, err)
	}
}

// TestPrivateResolverAsUser does the same as an ordinary user, for which the test must run as root.
func TestPrivateResolverAsUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("an ordinary user; TestPrivateResolver covers it")
	}
	const uid = 65534
	dir, err := os.MkdirTemp("/tmp", "rollcall-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chown(dir, uid, uid); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "program", "show-resolver", filepath.Join(dir, "data"))
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	got, err := cmd.CombinedOutput()
	if string(got) == "no private resolver" {
		missing(t, "ordinary users have no user namespaces here")
	}
	if err != nil {
		t.Fatal(err, string(got))
	}
	checkResolver(t, string(got), "65534", "0000000000000000")
}
