package etcd

import (
	"fmt"
	"runtime"
	"strings"

	"go.uber.org/zap/zapcore"
)

// verdict is what happens to a goroutine on which etcd gives up, that is, calls Fatal or Panic of its logger.
type verdict int

const (
	// park keeps the goroutine, and every lock that it holds, for ever. The safe verdict: the code after a
	// Fatal was never meant to run, and whoever waits for those locks would find a broken state.
	park verdict = iota
	// proceed lets it return from Fatal once etcd's main loop has stopped.
	proceed
	// unwind panics, on a goroutine where the panic is known to be caught.
	unwind
)

// gaveUp is what unwind panics with.
type gaveUp struct{ msg string }

func (g gaveUp) String() string { return g.msg }

// judge decides from the log message and the goroutine's functions, innermost first. Each rule rests on what
// etcd 3.7 does after the call:
//
//   - While starting, everything unwinds to boot; nothing has been promised to anybody.
//   - raftNode's loop, which writes the WAL, hands its entries to be applied only while the main loop runs, and
//     EtcdServer's stop waits for it. So once the main loop has stopped, it may go on: what was not written is
//     neither applied nor acknowledged, and the engine closes down in good order.
//   - A failed commit of the database that closes it is followed by nothing.
//   - Any other failed commit holds the locks of all readers and writers, and the transaction that follows
//     would lack what the failed one held: a watcher that reads it would miss events. Nobody may pass.
//   - A snapshot is taken by the apply loop, which holds no lock then and catches panics, and then reports
//     "execute job failed".
//   - Purging old files is the last thing its goroutine does.
//   - A read runs on a goroutine of guard.go, which catches panics, and holds no lock that a writer waits for.
func judge(msg string, stack []string, unwinding bool) verdict {
	on := func(function string) bool {
		for _, f := range stack {
			if strings.Contains(f, function) {
				return true
			}
		}
		return false
	}
	switch {
	case msg == "execute job failed": // the frames below it are those of the panic
		if unwinding {
			return proceed
		}
		return park
	case on("store/etcd.(*engine).boot"):
		return unwind
	case on("etcdserver.(*raftNode).start.func"):
		return proceed
	case on("backend.(*batchTx).commit"):
		if on("backend.(*batchTxBuffered).CommitAndStop") {
			return proceed
		}
		return park
	case on("etcdserver.(*EtcdServer).snapshot"):
		return unwind
	case on("etcdserver.(*EtcdServer).purgeFile"):
		return proceed
	case on("store/etcd.aside"):
		return unwind
	}
	return park
}

// onGiveUp is the hook that zap calls in place of os.Exit and panic.
type onGiveUp struct{ e *engine }

// OnWrite fails the engine first, so that whatever happens next is believed by nobody, and then does what judge
// says.
func (h onGiveUp) OnWrite(ce *zapcore.CheckedEntry, fields []zapcore.Field) {
	msg, cause, unwinding := ce.Message, fmt.Errorf("%s", ce.Message), false
	for _, f := range fields {
		switch v := f.Interface.(type) {
		case gaveUp:
			unwinding = true
		case error:
			cause = fmt.Errorf("%s: %w", msg, v)
		}
	}
	h.e.fail(cause)
	switch judge(msg, callers(), unwinding) {
	case proceed:
		<-h.e.halted
	case unwind:
		panic(gaveUp{cause.Error()})
	default:
		h.e.parking.Do(func() { close(h.e.parked) })
		select {}
	}
}

// callers returns the functions on this goroutine's stack, innermost first.
func callers() []string {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	var names []string
	for {
		f, more := frames.Next()
		names = append(names, f.Function)
		if !more {
			return names
		}
	}
}

// stacks returns the stacks of all goroutines, as a panic prints them.
func stacks() string {
	for n := 1 << 20; ; n *= 2 {
		buf := make([]byte, n)
		if m := runtime.Stack(buf, true); m < n {
			return string(buf[:m])
		}
	}
}
