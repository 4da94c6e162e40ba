package plugin

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"time"

	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/caller"
	"github.com/seqheal/seqheal/internal/heal"
	"github.com/seqheal/seqheal/internal/report"
)

// reporter receives what the engine found.
type reporter struct{ plugin *Plugin }

// entry is an incident with the logger that its insert used.
type entry struct {
	Incident
	logger logger.Interface
}

// Report records and counts the incident, logs it and calls every OnIncident. A
// logger or a callback that fails does not lose the insert.
func (r reporter) Report(ctx context.Context, gormLogger logger.Interface, found heal.Incident) {
	p, incident := r.plugin, incidentOf(found)
	p.journal.add(incident)
	kind := report.Kind{Table: incident.Table, Outcome: string(incident.Outcome), Reason: string(incident.Reason)}
	for _, line := range p.repeats.Add(time.Now(), kind, incident.Time, entry{incident, gormLogger}) {
		p.write(ctx, line)
	}
	for _, fn := range p.settings.onIncident {
		p.safely(ctx, gormLogger, func() { fn(ctx, incident) })
	}
}

// Note logs at debug level with WithLogger, and at GORM's Info level otherwise.
func (r reporter) Note(ctx context.Context, gormLogger logger.Interface, message string) {
	r.plugin.safely(ctx, gormLogger, func() {
		if r.plugin.settings.logger != nil {
			r.plugin.logRecord(ctx, slog.LevelDebug, caller.Here().PC, message)
			return
		}
		logText(gormLogger, gormLogger.Info, ctx, message)
	})
}

// Complain logs what keeps statements from being protected.
func (r reporter) Complain(ctx context.Context, gormLogger logger.Interface, message string) {
	r.plugin.safely(ctx, gormLogger, func() { r.plugin.complain(ctx, gormLogger, message) })
}

// Flush logs what is held back. Repeats of an incident on the same table have one line a
// minute with their number, which the next incident after the minute writes. Call it when
// the program ends: without it the repeats of the last minute are only in [Plugin.Stats]
// and [OnIncident].
func (p *Plugin) Flush() {
	for _, line := range p.repeats.Flush() {
		p.write(context.Background(), line)
	}
}

// write logs one line: what was healed as a warning, what was not as an error.
func (p *Plugin) write(ctx context.Context, line report.Line[entry]) {
	if line.Late {
		ctx = context.Background() // the incident is not this insert's
	}
	i := line.Incident
	p.safely(ctx, i.logger, func() {
		level := slog.LevelWarn
		if i.Outcome == Refused || i.Outcome == Failed {
			level = slog.LevelError
		}
		switch {
		case p.settings.logger != nil:
			p.logRecord(ctx, level, i.pc, "seqheal: "+i.headline(), slog.Any("seqheal", fields(line)))
		case level == slog.LevelError:
			logText(i.logger, i.logger.Error, ctx, text(line))
		default:
			logText(i.logger, i.logger.Warn, ctx, text(line))
		}
	})
}

// fields are the incident's, and how many incidents the line stands for.
func fields(line report.Line[entry]) slog.Value {
	fields := append(line.Incident.record(), slog.Int("count", line.Count))
	if line.Count > 1 {
		fields = append(fields, slog.Time("since", line.Since))
	}
	return slog.GroupValue(fields...)
}

func text(line report.Line[entry]) string {
	text := line.Incident.String()
	if line.Count > 1 {
		text += fmt.Sprintf("; the latest of %d such incidents since %s", line.Count, line.Since.Format(time.RFC3339))
	}
	return text
}

// safely keeps a panic of the application's own code from the insert.
func (p *Plugin) safely(ctx context.Context, gormLogger logger.Interface, fn func()) {
	defer func() {
		if cause := recover(); cause != nil {
			defer func() { _ = recover() }() // the logger itself may be what panics
			p.complain(ctx, gormLogger, fmt.Sprintf("seqheal: a panic in OnIncident or the logger was caught: %v", cause))
		}
	}()
	fn()
}

// complain logs what is wrong with the plugin's surroundings.
func (p *Plugin) complain(ctx context.Context, gormLogger logger.Interface, message string) {
	if p.settings.logger != nil {
		p.logRecord(ctx, slog.LevelError, caller.Here().PC, message)
		return
	}
	logText(gormLogger, gormLogger.Error, ctx, message)
}

// logRecord writes a record to WithLogger's logger whose source is the application's line.
func (p *Plugin) logRecord(ctx context.Context, level slog.Level, pc uintptr, message string, attrs ...slog.Attr) {
	if !p.settings.logger.Enabled(ctx, level) {
		return
	}
	record := slog.NewRecord(time.Now(), level, message, pc)
	record.AddAttrs(attrs...)
	_ = p.settings.logger.Handler().Handle(ctx, record)
}

// logText writes a text to a GORM logger. Most take it for a format of package fmt, and
// GORM's own for slog takes it as it is and its arguments for data, so that the text must be the message.
func logText(to logger.Interface, write func(context.Context, string, ...any), ctx context.Context, text string) {
	if strings.Contains(text, "%") && !isGormsSlog(to) {
		write(ctx, "%s", text)
		return
	}
	write(ctx, text)
}

// isGormsSlog reports whether a logger is that of logger.NewSlogLogger.
func isGormsSlog(l logger.Interface) bool {
	t := reflect.TypeOf(l)
	return t != nil && t.Kind() == reflect.Pointer && t.Elem().PkgPath() == "gorm.io/gorm/logger" && t.Elem().Name() == "slogLogger"
}
