package etcd

import (
	"net/url"
	"strings"
	"testing"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// startCluster starts an etcd that listens on a loopback port, and returns its endpoint.
func startCluster(t *testing.T, maxTxnOps uint) string {
	t.Helper()
	c := embed.NewConfig()
	c.Dir = folder(t)
	c.ListenPeerUrls = nil
	c.ListenClientUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	c.AdvertiseClientUrls = c.ListenClientUrls
	c.TickMs, c.ElectionMs = 25, 125
	if maxTxnOps > 0 {
		c.MaxTxnOps = maxTxnOps
	}
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(newCore(testLog(t), func() bool { return true })))
	e, err := embed.StartEtcd(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	<-e.Server.ReadyNotify()
	return e.Clients[0].Addr().String()
}

func TestExternal(t *testing.T) {
	s := start(t, Config{Endpoints: []string{startCluster(t, MaxTxnOps)}})
	c := client(t, s)
	if _, err := c.Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	got, err := c.Get(t.Context(), "k")
	if err != nil || got.Count != 1 {
		t.Errorf("Get = %v, %v; want one key", got, err)
	}
	if got.Header.Revision != 2 {
		t.Errorf("revision %d, want 2: the check at the start must not write", got.Header.Revision)
	}
	if err := s.Health(); err != nil {
		t.Error(err)
	}
}

func TestExternalUnusable(t *testing.T) {
	for _, tc := range []struct{ name, endpoint, want string }{
		{"etcd's default limit", startCluster(t, 0), "--max-txn-ops=10000"},
		{"no server at the address", "127.0.0.1:1", "does not answer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Start(t.Context(), Config{Endpoints: []string{tc.endpoint}})
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), tc.endpoint) {
				t.Errorf("error %v, want one that contains %q and %s", err, tc.want, tc.endpoint)
			}
		})
	}
}
