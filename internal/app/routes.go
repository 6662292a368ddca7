package app

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// routes adds /healthz, for every client, and /metrics, which describes what runs here and so is only for clients on
// this machine, to the AWS APIs.
func (a *App) routes(aws http.Handler) http.Handler {
	metrics := a.metrics()
	mux := http.NewServeMux()
	mux.Handle("/", aws)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if stale, since := a.db.Stale(); stale {
			http.Error(w, "stale since "+since.UTC().Format(time.RFC3339)+": etcd is unreachable; reads and DNS continue",
				http.StatusServiceUnavailable)
			return
		}
		if err := a.engine.Health(); err != nil {
			http.Error(w, "writes fail: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n")) // fails only if the client has disconnected
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		if local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr); !fromThisMachine(r.RemoteAddr, local) {
			http.Error(w, "metrics are only for clients on this machine", http.StatusForbidden)
			return
		}
		metrics.ServeHTTP(w, r)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// An id of Route 53 with its type. The mux would redirect it, which invalidates the signature.
		if strings.Contains(r.URL.Path, "//") {
			aws.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// fromThisMachine reports whether a connection from the address remote comes from this machine: from a loopback
// address, or from the address that it connected to, which is the source that the system chooses for a local
// connection.
func fromThisMachine(remote string, local net.Addr) bool {
	from, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	ip := from.Addr().Unmap()
	to, ok := local.(*net.TCPAddr)
	return ip.IsLoopback() || ok && ip == to.AddrPort().Addr().Unmap()
}
