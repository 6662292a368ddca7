package etcd

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"go.uber.org/zap/zapcore"
)

// expected are warnings and errors that etcd gives for what is on purpose or without meaning here: no listener at
// all, no peers to authenticate to, the storage version of a folder that has no snapshot yet, and its own address
// book, which nobody reads, and which it tries to write without a pause while it replays a long log.
var expected = map[string]bool{
	"Running http and grpc server on single port. This is not recommended for production.":             true,
	"simple token is not cryptographically signed":                                                     true,
	"Failed to detect schema version":                                                                  true,
	"failed to update storage version":                                                                 true,
	"Failed to detect storage schema version. Please wait till wal snapshot before upgrading cluster.": true,
	"failed to lock file": true, // an old log file that is still needed
	"failed to publish local member to cluster through raft": true,
}

// tooEarly ends what raft says when the first election comes before the first configuration is applied; the next one
// does not. It begins with the member's id.
const tooEarly = "cannot campaign at term 1 since there are still pending configuration changes to apply"

// meaningless reports whether a warning or error says nothing that an operator should know.
func meaningless(message string) bool {
	return expected[message] || strings.HasSuffix(message, tooEarly)
}

// core is a zapcore.Core that writes etcd's log to slog. etcd's informational lines are this program's debug
// lines, and etcd's debug lines lie one step below.
type core struct {
	handler slog.Handler
	quiet   func() bool // nothing said from now on is news
}

// newCore makes a core for one engine or client. Once quiet returns true, warnings are chatter too: a server that
// is being stopped complains about much.
func newCore(log *slog.Logger, quiet func() bool) zapcore.Core {
	return core{log.With("component", "etcd").Handler(), quiet}
}

func levelOf(l zapcore.Level) slog.Level {
	switch {
	case l < zapcore.InfoLevel:
		return slog.LevelDebug - 4
	case l < zapcore.WarnLevel:
		return slog.LevelDebug
	case l < zapcore.ErrorLevel:
		return slog.LevelWarn
	default:
		return slog.LevelError
	}
}

// Enabled is part of zapcore.Core.
func (c core) Enabled(l zapcore.Level) bool {
	return c.handler.Enabled(context.Background(), levelOf(l))
}

// With is part of zapcore.Core.
func (c core) With(fields []zapcore.Field) zapcore.Core {
	return core{c.handler.WithAttrs(attrs(fields)), c.quiet}
}

// Check is part of zapcore.Core.
func (c core) Check(ent zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(ent.Level) {
		return ce.AddCore(ent, c)
	}
	return ce
}

// Write is part of zapcore.Core.
func (c core) Write(ent zapcore.Entry, fields []zapcore.Field) error {
	level := levelOf(ent.Level)
	if level > slog.LevelDebug && (meaningless(ent.Message) || c.quiet()) {
		level = slog.LevelDebug
	}
	ctx := context.Background()
	if !c.handler.Enabled(ctx, level) {
		return nil
	}
	r := slog.NewRecord(ent.Time, level, ent.Message, ent.Caller.PC)
	r.AddAttrs(attrs(fields)...)
	return c.handler.Handle(ctx, r)
}

// Sync is part of zapcore.Core; slog does not buffer.
func (core) Sync() error { return nil }

func attrs(fields []zapcore.Field) []slog.Attr {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	out := make([]slog.Attr, 0, len(enc.Fields))
	for _, k := range slices.Sorted(maps.Keys(enc.Fields)) {
		out = append(out, slog.Any(k, enc.Fields[k]))
	}
	return out
}
