package etcd

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/zap"
)

func TestLog(t *testing.T) {
	var out strings.Builder
	h := slog.NewTextHandler(&out, &slog.HandlerOptions{
		Level: slog.LevelDebug - 4,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})
	quiet := false
	log := zap.New(newCore(slog.New(h), func() bool { return quiet }))
	for _, tc := range []struct {
		write func()
		want  string
	}{
		{func() { log.Debug("tick") }, `level=DEBUG-4 msg=tick component=etcd`},
		{func() { log.Info("started", zap.Int("b", 2), zap.String("a", "x")) },
			`level=DEBUG msg=started component=etcd a=x b=2`},
		{func() { log.With(zap.String("member", "m")).Warn("slow") }, `level=WARN msg=slow component=etcd member=m`},
		{func() { log.Error("failed", zap.Error(errors.New("disk"))) },
			`level=ERROR msg=failed component=etcd error=disk`},
		{func() { log.Warn("simple token is not cryptographically signed") },
			`level=DEBUG msg="simple token is not cryptographically signed" component=etcd`},
		{func() { log.Warn("8e9e05c52164694d " + earlyCampaign) },
			`level=DEBUG msg="8e9e05c52164694d ` + earlyCampaign + `" component=etcd`},
		{func() { quiet = true; log.Error("stopped") }, `level=DEBUG msg=stopped component=etcd`},
	} {
		out.Reset()
		tc.write()
		if got := strings.TrimSpace(out.String()); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
}
