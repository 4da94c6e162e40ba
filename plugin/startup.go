package plugin

import (
	"context"
	"fmt"
	"log/slog"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/caller"
)

// startupLines is how many columns are logged one by one.
const startupLines = 20

func (p *Plugin) auditAtStartup(db *gorm.DB) {
	if p.settings.startup == nil {
		return
	}
	ctx := context.Background()
	findings, err := Audit(ctx, db, p.settings.startup...)
	var odd []Finding
	for _, f := range findings {
		if f.Moved || f.CycleAhead > 0 || f.State != StateInSync && f.Reason != ReasonUnsupported {
			odd = append(odd, f)
		}
	}
	for _, f := range odd[:min(len(odd), startupLines)] {
		p.safely(ctx, db.Logger, func() { p.logFinding(ctx, db, f) })
	}
	summary := "seqheal: startup audit: " + checked(len(findings)) + ", " + attention(len(odd))
	switch {
	case err != nil && len(findings) == 0: // the columns' own errors have been logged
		p.complain(ctx, db.Logger, fmt.Sprintf("seqheal: startup audit: %v", err))
	case p.settings.logger != nil:
		p.logRecord(ctx, slog.LevelInfo, caller.Here().PC, summary)
	default:
		logText(db.Logger, db.Logger.Info, ctx, summary)
	}
}

func (p *Plugin) logFinding(ctx context.Context, db *gorm.DB, f Finding) {
	if p.settings.logger != nil {
		p.logRecord(ctx, slog.LevelWarn, caller.Here().PC, "seqheal: startup audit", slog.Any("finding", f))
		return
	}
	logText(db.Logger, db.Logger.Warn, ctx, "seqheal: startup audit: "+f.String())
}

func checked(columns int) string {
	if columns == 1 {
		return "1 column checked"
	}
	return fmt.Sprintf("%d columns checked", columns)
}

func attention(columns int) string {
	if columns == 1 {
		return "1 needs attention"
	}
	return fmt.Sprintf("%d need attention", columns)
}
