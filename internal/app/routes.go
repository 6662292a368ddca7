package app

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/bakingclouds/rollcall/internal/dns/server"
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

// metrics exports what the parts count.
func (a *App) metrics() http.Handler {
	r := prometheus.NewRegistry()
	gauge := func(name, help string, value func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("rollcall_store_lag_seconds", "How long the state that answers come from has been without etcd; 0 while it follows.", func() float64 {
		if stale, since := a.db.Stale(); stale {
			return time.Since(since).Seconds()
		}
		return 0
	})
	gauge("rollcall_store_revision", "The etcd revision that DNS and the APIs answer from.", func() float64 {
		return float64(a.dir.Applied())
	})
	r.MustRegister(dnsCounts{a.dns})
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// dnsCounts exports what the DNS server counts.
type dnsCounts struct{ dns *server.Server }

var (
	dnsQueries = prometheus.NewDesc("rollcall_dns_queries_total", "DNS messages read.", []string{"transport"}, nil)
	dnsReplies = prometheus.NewDesc("rollcall_dns_replies_total", "DNS replies by response code.", []string{"rcode"}, nil)
	dnsDropped = prometheus.NewDesc("rollcall_dns_dropped_total", "DNS messages that were no queries and got no reply.", nil, nil)
)

// Describe names the metrics.
func (dnsCounts) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{dnsQueries, dnsReplies, dnsDropped} {
		descs <- d
	}
}

// Collect reads the counters.
func (c dnsCounts) Collect(metrics chan<- prometheus.Metric) {
	s := c.dns.Stats()
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	count(dnsQueries, s.UDP, "udp")
	count(dnsQueries, s.TCP, "tcp")
	count(dnsDropped, s.Dropped)
	for rcode, n := range s.Rcodes {
		count(dnsReplies, n, rcode)
	}
}
