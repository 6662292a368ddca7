package app

import (
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/bakingclouds/rollcall/internal/dns/server"
)

// metrics returns the handler of /metrics: the metrics of Rollcall, of the Go runtime and of the process.
func (a *App) metrics() http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(a.collectors()...)
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// collectors returns the sources of Rollcall's metrics. Their descriptions do not depend on a running server.
func (a *App) collectors() []prometheus.Collector {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	return []prometheus.Collector{
		gauge("rollcall_store_lag_seconds",
			"Time since this node lost its connection to etcd, which is the age of the state it answers from; 0 while "+
				"connected.",
			func() float64 {
				if stale, since := a.db.Stale(); stale {
					return time.Since(since).Seconds()
				}
				return 0
			}),
		gauge("rollcall_store_revision", "The etcd revision that DNS and the APIs answer from.",
			func() float64 { return float64(a.dir.Applied()) }),
		dnsCollector{a.dns},
	}
}

// dnsCollector exports the counters of the DNS server.
type dnsCollector struct{ dns *server.Server }

var (
	dnsQueries = prometheus.NewDesc("rollcall_dns_queries_total", "DNS messages received.", []string{"transport"}, nil)
	dnsReplies = prometheus.NewDesc("rollcall_dns_replies_total", "DNS replies by response code.", []string{"rcode"}, nil)
	dnsDropped = prometheus.NewDesc("rollcall_dns_dropped_total",
		"DNS messages that were not queries and received no reply.", nil, nil)
)

// Describe implements [prometheus.Collector].
func (dnsCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{dnsQueries, dnsReplies, dnsDropped} {
		descs <- d
	}
}

// Collect implements [prometheus.Collector].
func (c dnsCollector) Collect(metrics chan<- prometheus.Metric) {
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

// Metric describes one metric for the reference page.
type Metric struct {
	Name, Help string
	Labels     []string
}

// descText matches the text of a [prometheus.Desc], which has no accessors.
var descText = regexp.MustCompile(`fqName: "([^"]*)", help: "([^"]*)".*variableLabels: \{([^}]*)\}`)

// Metrics describes the metrics of Rollcall, without those of the Go runtime and the process.
func Metrics() (all []Metric) {
	for _, c := range (&App{}).collectors() {
		descs := make(chan *prometheus.Desc, 16)
		c.Describe(descs)
		close(descs)
		for d := range descs {
			m := descText.FindStringSubmatch(d.String())
			all = append(all, Metric{Name: m[1], Help: m[2], Labels: strings.FieldsFunc(m[3],
				func(r rune) bool { return r == ',' })})
		}
	}
	return all
}
