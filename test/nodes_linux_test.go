package test

import (
	"testing"
	"time"

	"github.com/miekg/dns"
)

// The tests of this file run two servers on one etcd: two nodes, of which the first runs the tasks and both answer.

// nodes starts both on a cluster of their own.
func nodes(t *testing.T) (first, second *server) {
	t.Helper()
	etcd := startCluster(t)
	first = serve(t, "--etcd", etcd.endpoint(), "--node", "first")
	second = serve(t, "--etcd", etcd.endpoint(), "--node", "second", "--runtime", "none")
	return first, second
}

// answers waits until a node answers with the task of n.
func (n *noted) answeredBy(other *server) *noted {
	n.T.Helper()
	there := *n
	there.server = other
	return &there
}

// TestDrainOnEveryNode: a task waits for what another node has handed out.
func TestDrainOnEveryNode(t *testing.T) {
	t.Parallel()
	first, second := nodes(t)
	n := first.noted(first.Namespace("shop"), "cart", 4)
	asked := time.Now()
	n.answeredBy(second).asked("udp", "cart.shop.", dns.TypeA)
	n.stopTask()
	wait := n.told(40 * time.Second).Sub(asked)
	t.Logf("SIGTERM came %v after the other node's answer", wait)
	if wait < 4*time.Second {
		t.Errorf("SIGTERM came %v after the other node's answer, which lives 4 s", wait)
	}
}

// TestDrainOfALostNode: what a node has handed out that is gone is waited for too, from the moment that it is known to
// be gone, and not for ever.
func TestDrainOfALostNode(t *testing.T) {
	t.Parallel()
	first, second := nodes(t)
	n := first.noted(first.Namespace("shop"), "cart", 6)
	asked := time.Now()
	n.answeredBy(second).asked("udp", "cart.shop.", dns.TypeA)
	second.Kill()
	n.stopTask()
	wait := n.told(90 * time.Second).Sub(asked)
	t.Logf("SIGTERM came %v after the lost node's answer", wait)
	if wait < 6*time.Second {
		t.Errorf("SIGTERM came %v after the lost node's answer, which lives 6 s", wait)
	}
}
