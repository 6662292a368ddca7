package etcd

import (
	"fmt"
	"runtime"
	"strings"

	"go.uber.org/zap/zapcore"
)

// fatalAction determines how a goroutine continues on which etcd has called Fatal or Panic of its logger.
type fatalAction int

const (
	// park blocks the goroutine forever, with every lock that it holds. This is the safe action: the code after Fatal
	// is not meant to run, and a goroutine that acquires one of these locks would find an inconsistent state.
	park fatalAction = iota
	// proceed returns from Fatal after etcd's main loop has stopped.
	proceed
	// unwind panics. It is used on goroutines that are known to recover.
	unwind
)

// fatalError is the panic value of unwind.
type fatalError struct{ msg string }

func (g fatalError) String() string { return g.msg }

// actionFor returns the action for a log message and the functions on the goroutine's stack, innermost first. Each rule
// relies on the code of etcd 3.7 after the call:
//
//   - During the start, every fatal error unwinds to boot. No write has been acknowledged yet.
//   - The loop of raftNode, which writes the WAL, passes its entries on to be applied only while the main loop runs,
//     and the stop of EtcdServer waits for it. It can therefore proceed after the main loop has stopped: entries that
//     were not written are neither applied nor acknowledged, and the engine stops cleanly.
//   - After the failed commit that closes the database, its goroutine does nothing more.
//   - During any other failed commit, the goroutine holds the locks of all readers and writers. The next transaction
//     would lack the writes of the failed one, and a watcher that reads it would miss events. So no goroutine may get
//     the locks.
//   - The apply loop saves a snapshot. It holds no locks while it does so, and recovers from panics, which it then
//     reports as "execute job failed".
//   - The goroutine that purges old files does nothing more after the failure.
//   - A read runs on a goroutine of callDetached, which recovers from panics, and holds no lock that a writer needs.
func actionFor(msg string, stack []string, unwinding bool) fatalAction {
	on := func(function string) bool {
		for _, f := range stack {
			if strings.Contains(f, function) {
				return true
			}
		}
		return false
	}
	switch {
	case msg == "execute job failed": // the stack also contains the frames of the panic
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
	case on("store/etcd.callDetached"):
		return unwind
	}
	return park
}

// fatalHook is the hook that zap calls instead of os.Exit and panic.
type fatalHook struct{ e *engine }

// OnWrite marks the engine as failed first, so that all its later results are discarded, and then takes the action that
// actionFor returns.
func (h fatalHook) OnWrite(ce *zapcore.CheckedEntry, fields []zapcore.Field) {
	msg, cause, unwinding := ce.Message, fmt.Errorf("%s", ce.Message), false
	for _, f := range fields {
		switch v := f.Interface.(type) {
		case fatalError:
			unwinding = true
		case error:
			cause = fmt.Errorf("%s: %w", msg, v)
		}
	}
	h.e.fail(cause)
	switch actionFor(msg, callers(), unwinding) {
	case proceed:
		<-h.e.halted
	case unwind:
		panic(fatalError{cause.Error()})
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

// stacks returns the stacks of all goroutines in the format of a panic.
func stacks() string {
	for n := 1 << 20; ; n *= 2 {
		buf := make([]byte, n)
		if m := runtime.Stack(buf, true); m < n {
			return string(buf[:m])
		}
	}
}
