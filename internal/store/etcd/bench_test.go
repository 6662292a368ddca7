//go:build unix

package etcd

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"
)

// BenchmarkPut measures durable puts of 400 bytes through the in-process client.
func BenchmarkPut(b *testing.B) {
	for _, writers := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			c := client(b, start(b, Config{Dir: folder(b)}))
			value := string(bytes.Repeat([]byte("v"), 400))
			var n atomic.Int64
			b.SetParallelism((writers + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
			b.ResetTimer()
			cpu := cpuTime(b)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := c.Put(b.Context(), "bench/"+strconv.FormatInt(n.Add(1), 10), value); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
			b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

// BenchmarkTxn measures transactions that resemble a registration: a comparison of two keys, and two small rows.
func BenchmarkTxn(b *testing.B) {
	c := client(b, start(b, Config{Dir: folder(b)}))
	value := string(bytes.Repeat([]byte("v"), 400))
	var n atomic.Int64
	b.SetParallelism(64)
	b.ResetTimer()
	cpu := cpuTime(b)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			key := strconv.FormatInt(n.Add(1), 10)
			unchanged := clientv3.Compare(clientv3.ModRevision("service"), "=", 0)
			absent := clientv3.Compare(clientv3.ModRevision("i/"+key), "=", 0)
			puts := []clientv3.Op{clientv3.OpPut("i/"+key, value), clientv3.OpPut("o/"+key, value)}
			if _, err := c.Txn(b.Context()).If(unchanged, absent).Then(puts...).Commit(); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "txns/s")
	b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/float64(b.N), "cpu-µs/op")
}

// BenchmarkStart measures a start with an existing folder, and reports the memory afterwards.
func BenchmarkStart(b *testing.B) {
	dir := folder(b)
	for b.Loop() {
		s, err := Start(b.Context(), Config{Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	start(b, Config{Dir: dir})
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip(err)
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) == 3 && (f[0] == "VmRSS:" || f[0] == "RssAnon:") {
			kb, _ := strconv.ParseFloat(f[1], 64)
			b.ReportMetric(kb/1024, strings.TrimSuffix(f[0], ":")+"-MiB")
		}
	}
}

// cpuTime returns the CPU time of this process, which varies less than wall-clock time on a busy machine.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
