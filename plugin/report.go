package plugin

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"gorm.io/gorm/logger"
)

// report remembers and counts the incident, logs it and hands it to every
// OnIncident. Nothing that a logger or a callback does may lose the insert. None
// of the plugin's locks is held and no transaction of its own is open while they
// run, so that one that blocks keeps its own insert waiting and no other.
func (p *Plugin) report(ctx context.Context, gormLogger logger.Interface, incident Incident) {
	p.journal.add(incident)
	for _, line := range p.digest.admit(time.Now(), gormLogger, incident) {
		p.write(ctx, line)
	}
	for _, fn := range p.settings.onIncident {
		p.safely(ctx, gormLogger, func() { fn(ctx, incident) })
	}
}

// Flush logs what is held back: repeats of an incident on the same table have
// one line a minute with their number, written by the next incident that comes
// after the minute. Call it when the program ends, or its last minute's repeats
// are counted by Stats and told to OnIncident alone.
func (p *Plugin) Flush() {
	for _, line := range p.digest.flush() {
		p.write(context.Background(), line)
	}
}

// write logs one line: what was healed as a warning, what was not as an error.
func (p *Plugin) write(ctx context.Context, l line) {
	if l.foreign {
		ctx = context.Background() // the incident is not this insert's
	}
	p.safely(ctx, l.logger, func() {
		level := slog.LevelWarn
		if l.incident.Outcome == Refused || l.incident.Outcome == Failed {
			level = slog.LevelError
		}
		switch {
		case p.settings.logger != nil:
			p.settings.logger.LogAttrs(ctx, level, "seqheal: "+l.incident.headline(), slog.Any("seqheal", l.fields()))
		case level == slog.LevelError:
			l.logger.Error(ctx, "%s", l)
		default:
			l.logger.Warn(ctx, "%s", l)
		}
	})
}

// fields are the incident's and, for one that stands for others, how many.
func (l line) fields() slog.Value {
	fields := append(l.incident.record(), slog.Int("count", l.count))
	if l.count > 1 {
		fields = append(fields, slog.Time("since", l.since))
	}
	return slog.GroupValue(fields...)
}

func (l line) String() string {
	text := l.incident.String()
	if l.count > 1 {
		text += fmt.Sprintf("; the latest of %d such incidents since %s", l.count, l.since.Format(time.RFC3339))
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
		p.settings.logger.LogAttrs(ctx, slog.LevelError, message)
		return
	}
	gormLogger.Error(ctx, "%s", message)
}
