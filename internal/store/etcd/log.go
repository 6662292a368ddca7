package etcd

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"go.uber.org/zap/zapcore"
)

// expectedMessages are warnings and errors of etcd that are intentional or irrelevant here: there are no listeners and
// no peers to authenticate to, a folder without a snapshot has no storage version, and no program reads the address
// that etcd publishes, which it repeatedly tries while it replays a long log.
var expectedMessages = map[string]bool{
	"Running http and grpc server on single port. This is not recommended for production.":             true,
	"simple token is not cryptographically signed":                                                     true,
	"Failed to detect schema version":                                                                  true,
	"failed to update storage version":                                                                 true,
	"Failed to detect storage schema version. Please wait till wal snapshot before upgrading cluster.": true,
	"failed to lock file": true, // a log file that is still in use
	"failed to publish local member to cluster through raft": true,
}

// earlyCampaign is the end of raft's message, after the member's id, if the first election precedes the first
// configuration change. The next election succeeds.
const earlyCampaign = "cannot campaign at term 1 since there are still pending configuration changes to apply"

// isNoise reports whether a warning or error is irrelevant for an operator.
func isNoise(message string) bool {
	return expectedMessages[message] || strings.HasSuffix(message, earlyCampaign)
}

// core is a zapcore.Core that writes etcd's log to slog. It logs etcd's info level as debug, and etcd's debug level
// below debug.
type core struct {
	handler slog.Handler
	quiet   func() bool // reports whether to log warnings and errors as debug
}

// newCore returns a core for one engine or client. While quiet returns true, it logs warnings and errors as debug,
// because a server that is being stopped logs many of them.
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

// Enabled implements zapcore.Core.
func (c core) Enabled(l zapcore.Level) bool {
	return c.handler.Enabled(context.Background(), levelOf(l))
}

// With implements zapcore.Core.
func (c core) With(fields []zapcore.Field) zapcore.Core {
	return core{c.handler.WithAttrs(attrs(fields)), c.quiet}
}

// Check implements zapcore.Core.
func (c core) Check(ent zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(ent.Level) {
		return ce.AddCore(ent, c)
	}
	return ce
}

// Write implements zapcore.Core.
func (c core) Write(ent zapcore.Entry, fields []zapcore.Field) error {
	level := levelOf(ent.Level)
	if level > slog.LevelDebug && (isNoise(ent.Message) || c.quiet()) {
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

// Sync implements zapcore.Core. It does nothing, because slog does not buffer.
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
