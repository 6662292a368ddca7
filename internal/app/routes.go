package app

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// routes puts what is not an AWS API beside it: /healthz for everybody, /metrics for clients on this
// machine, since it says what runs here.
func (a *App) routes(aws http.Handler) http.Handler {
	metrics := a.metrics()
	mux := http.NewServeMux()
	mux.Handle("/", aws)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if stale, since := a.db.Stale(); stale {
			http.Error(w, "stale since "+since.UTC().Format(time.RFC3339)+": etcd is out of reach; reads and DNS go on", http.StatusServiceUnavailable)
			return
		}
		if err := a.engine.Health(); err != nil {
			http.Error(w, "writes fail: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if ip, perr := netip.ParseAddr(host); err != nil || perr != nil || !ip.Unmap().IsLoopback() {
			http.Error(w, "metrics are for clients on this machine", http.StatusForbidden)
			return
		}
		metrics.ServeHTTP(w, r)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "//") { // an id of Route 53 with its type; the mux would redirect, and void the signature
			aws.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}
