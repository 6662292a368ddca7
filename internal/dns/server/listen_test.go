package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/bakingclouds/rollcall/internal/dns/answer"
	"github.com/bakingclouds/rollcall/internal/dns/dnstest"
	"github.com/bakingclouds/rollcall/internal/fault"
)

func TestSecondServer(t *testing.T) {
	_, addr := start(t, zone, Config{})
	other := New(Config{Authority: &answer.Authority{Directory: dnstest.Load(t, zone)}})
	t.Cleanup(other.Shutdown)
	for _, addr := range []string{addr, strings.Replace(addr, "127.0.0.1", "0.0.0.0", 1)} {
		_, err := other.Listen(addr)
		if !fault.Is(err, fault.InUse) {
			t.Fatalf("second Listen(%s): %v", addr, err)
		}
		for _, want := range []string{addr, "this process", "--dns"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q does not contain %q", err, want)
			}
		}
	}
}

const listenEnv = "ROLLCALL_TEST_LISTEN"

// TestAddressInUse checks that the error names the process that listens on the address, over UDP or over TCP.
func TestAddressInUse(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			child := exec.Command(os.Args[0])
			child.Env = append(os.Environ(), listenEnv+"="+network)
			stdin, err := child.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			stdout, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { stdin.Close(); child.Wait() })
			addr, err := bufio.NewReader(stdout).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			addr = strings.TrimSpace(addr)
			s := New(Config{Authority: &answer.Authority{Directory: dnstest.Load(t, zone)}})
			t.Cleanup(s.Shutdown)
			_, err = s.Listen(addr)
			if want := fmt.Sprintf("(pid %d)", child.Process.Pid); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Listen on an address in use: %v, want an error with %s", err, want)
			}
		})
	}
}

// listenUntilEOF runs in the child process. It listens on an address until its standard input ends.
func listenUntilEOF() {
	switch os.Getenv(listenEnv) {
	case "udp":
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err == nil {
			fmt.Println(c.LocalAddr())
		}
	case "tcp":
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err == nil {
			fmt.Println(l.Addr())
		}
	}
	io.Copy(io.Discard, os.Stdin)
}

func TestInvalidAddresses(t *testing.T) {
	s, _ := start(t, zone, Config{})
	for addr, want := range map[string]string{
		"":                 "IP:PORT",
		"127.0.0.1":        "IP:PORT",
		"localhost:53":     "IP:PORT",
		"127.0.0.1:http":   "IP:PORT",
		"127.0.0.1:70000":  "IP:PORT",
		"192.0.2.1:0":      "not an address of this host",
		"[2001:db8::1]:53": "not an address of this host",
	} {
		if _, err := s.Listen(addr); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("Listen(%q): %v, want %s", addr, err, want)
		}
	}
	s.Shutdown()
	if _, err := s.Listen("127.0.0.1:0"); err != net.ErrClosed {
		t.Errorf("Listen after Shutdown: %v, want net.ErrClosed", err)
	}
}
