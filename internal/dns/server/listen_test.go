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

func TestSecondServerIsRefused(t *testing.T) {
	_, addr := start(t, zone, Config{})
	other := New(Config{Authority: &answer.Authority{Directory: dnstest.Load(t, zone)}})
	t.Cleanup(other.Shutdown)
	for _, addr := range []string{addr, strings.Replace(addr, "127.0.0.1", "0.0.0.0", 1)} {
		_, err := other.Listen(addr)
		if !fault.Is(err, fault.InUse) {
			t.Fatalf("listening on %s twice: %v", addr, err)
		}
		for _, want := range []string{addr, "this very process", "--dns"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q does not say %q", err, want)
			}
		}
	}
}

const holdEnv = "ROLLCALL_TEST_HOLD_ADDRESS"

// TestHolder has another process hold an address, over UDP or over TCP.
func TestHolder(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			child := exec.Command(os.Args[0])
			child.Env = append(os.Environ(), holdEnv+"="+network)
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
				t.Errorf("listening on a held address: %v, want a mention of %s", err, want)
			}
		})
	}
}

// holdAddress is the other process: it holds an address until its input ends.
func holdAddress() {
	switch os.Getenv(holdEnv) {
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

func TestBadAddresses(t *testing.T) {
	s, _ := start(t, zone, Config{})
	for addr, want := range map[string]string{
		"":                 "IP:PORT",
		"127.0.0.1":        "IP:PORT",
		"localhost:53":     "IP:PORT",
		"127.0.0.1:http":   "IP:PORT",
		"127.0.0.1:70000":  "IP:PORT",
		"192.0.2.1:0":      "no address of this host",
		"[2001:db8::1]:53": "no address of this host",
	} {
		if _, err := s.Listen(addr); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("listening on %q: %v, want %s", addr, err, want)
		}
	}
	s.Shutdown()
	if _, err := s.Listen("127.0.0.1:0"); err != net.ErrClosed {
		t.Errorf("listening after Shutdown: %v", err)
	}
}
