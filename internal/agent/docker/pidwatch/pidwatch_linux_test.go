package pidwatch

import (
	"context"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// TestWatch watches a process that ends later, and one that has ended before. Each end is reported once.
func TestWatch(t *testing.T) {
	w, err := New()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	defer func() {
		cancel()
		running.Wait()
		w.Close()
	}()
	cmd := exec.Command("sleep", "3600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{}, 2)
	report := func() { ended <- struct{}{} }
	w.Watch(cmd.Process.Pid, report)
	w.Watch(cmd.Process.Pid, report) // has no effect
	select {
	case <-ended:
		t.Fatal("the end of a running process is reported")
	default:
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	await := func(what string) {
		t.Helper()
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Fatalf("%s: the end is not reported", what)
		}
	}
	await("killed process")
	_ = cmd.Wait() // reports that it was killed
	w.Watch(cmd.Process.Pid, report)
	await("process that does not exist")
	if len(ended) > 0 {
		t.Error("an end is reported twice")
	}
}

func TestInContainer(t *testing.T) {
	for _, tc := range []struct {
		name string
		pid  int
		id   string
	}{
		{"no process", 0, "0123456789ab"},
		{"no container", os.Getpid(), ""},
		{"another container", os.Getpid(), "no-such-container"},
	} {
		if InContainer(tc.pid, tc.id) {
			t.Errorf("%s: InContainer(%d, %q) is true", tc.name, tc.pid, tc.id)
		}
	}
}
