package plugin

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"gorm.io/gorm/logger"
)

// Stats counts incidents by outcome since the plugin was made.
type Stats struct {
	Healed, AlreadyHealed, Refused, Failed int64
}

// counters backs Stats.
type counters struct {
	healed, alreadyHealed, refused, failed atomic.Int64
}

// Stats returns the counters. It takes no lock.
func (p *Plugin) Stats() Stats {
	return Stats{
		Healed: p.counters.healed.Load(), AlreadyHealed: p.counters.alreadyHealed.Load(),
		Refused: p.counters.refused.Load(), Failed: p.counters.failed.Load(),
	}
}

func (c *counters) add(outcome Outcome) {
	switch outcome {
	case Healed:
		c.healed.Add(1)
	case AlreadyHealed:
		c.alreadyHealed.Add(1)
	case Refused:
		c.refused.Add(1)
	case Failed:
		c.failed.Add(1)
	}
}

// report counts the incident, logs it and hands it to every OnIncident. Nothing
// that a logger or a callback does may lose the insert.
func (p *Plugin) report(ctx context.Context, gormLogger logger.Interface, incident Incident) {
	p.counters.add(incident.Outcome)
	p.safely(ctx, gormLogger, func() { p.log(ctx, gormLogger, incident) })
	for _, fn := range p.settings.onIncident {
		p.safely(ctx, gormLogger, func() { fn(ctx, incident) })
	}
}

func (p *Plugin) log(ctx context.Context, gormLogger logger.Interface, incident Incident) {
	level := slog.LevelWarn
	if incident.Outcome == Refused || incident.Outcome == Failed {
		level = slog.LevelError
	}
	switch {
	case p.settings.logger != nil:
		p.settings.logger.LogAttrs(ctx, level, "seqheal: "+incident.headline(), slog.Any("seqheal", incident))
	case level == slog.LevelError:
		gormLogger.Error(ctx, "%s", incident)
	default:
		gormLogger.Warn(ctx, "%s", incident)
	}
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
