package compat

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	sloggorm "github.com/orandin/slog-gorm"
	"github.com/rs/zerolog"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// stake is a row of a table whose name is a trap for formats.
type stake struct{ ID int64 }

func (stake) TableName() string { return "100%d %s stakes" }

// An incident is one JSON line with its whole text in the message, through each logger that
// GORM users have, whatever the text holds.
func TestLoggers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, field string
		logger      func(*bytes.Buffer) logger.Interface
	}{
		{"GORM's for slog", "msg", func(out *bytes.Buffer) logger.Interface {
			return logger.NewSlogLogger(slog.New(slog.NewJSONHandler(out, nil)), logger.Config{LogLevel: logger.Warn})
		}},
		{"slog-gorm", "msg", func(out *bytes.Buffer) logger.Interface {
			return sloggorm.New(sloggorm.WithHandler(slog.NewJSONHandler(out, nil)))
		}},
		{"zap behind GORM's own", "msg", func(out *bytes.Buffer) logger.Interface {
			core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(out), zap.InfoLevel)
			return logger.New(zap.NewStdLog(zap.New(core)), logger.Config{LogLevel: logger.Warn})
		}},
		{"zerolog behind GORM's own", "message", func(out *bytes.Buffer) logger.Interface {
			to := zerolog.New(out)
			return logger.New(&to, logger.Config{LogLevel: logger.Warn})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			place.Exec(`CREATE TABLE "100%d %s stakes" (id bigserial PRIMARY KEY); INSERT INTO "100%d %s stakes" VALUES (1)`)
			var out bytes.Buffer
			db := place.Open(&gorm.Config{Logger: test.logger(&out)}, plugin.New())
			if err := db.Create(&stake{}).Error; err != nil {
				t.Fatal(err)
			}
			var line map[string]any
			lines := strings.Split(strings.TrimSpace(out.String()), "\n") // GORM's own come before
			if err := json.Unmarshal([]byte(lines[len(lines)-1]), &line); err != nil {
				t.Fatalf("%v: %s", err, &out)
			}
			text, _ := line[test.field].(string)
			for _, part := range []string{`seqheal: healed a drifted sequence: table "` + place.Schema + `"."100%d %s stakes", column "id"`, "loggers_test.go:", "; cause "} {
				if !strings.Contains(text, part) {
					t.Errorf("without %q: %s", part, &out)
				}
			}
		})
	}
}
