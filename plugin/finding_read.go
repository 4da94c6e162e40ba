package plugin

import (
	"github.com/seqheal/seqheal/internal/audit"
	"github.com/seqheal/seqheal/internal/sequence"
)

// findings turns what an audit found into what it returns.
func (s auditSettings) findings(report *audit.Report) []Finding {
	findings := make([]Finding, 0, len(report.Columns)+len(report.Unused))
	for _, column := range report.Columns {
		f := finding(column)
		f.Time = report.At
		findings = append(findings, f)
	}
	for _, u := range report.Unused {
		findings = append(findings, Finding{
			Schema: u.Schema, Table: u.Table, Column: u.Column, Sequence: u.QuotedName(), Increment: u.Increment, Time: report.At, State: StateUnused,
		})
	}
	if s.forecast {
		s.predict(findings, report)
	}
	return findings
}

func finding(c *audit.Column) Finding {
	f := Finding{Schema: c.Asked.Schema, Table: c.Asked.Table, State: State(c.Judge()), Err: c.Err}
	if c.Err != nil {
		f.Reason = Reason(sequence.Explain(c.Err).Reason)
	}
	if c.Fed == nil {
		f.Column, f.Type = c.Textual.Column, c.Textual.Shown
		return f
	}
	seq := c.Sequence
	f.Column, f.Type, f.Sequence = c.FedColumn(), c.Shown, seq.QuotedName()
	f.Increment, f.Cache, f.Cycle, f.Subscribed = seq.Increment, seq.Cache, seq.Cycle, c.Subscribed
	if f.State == StateUnreadable {
		return f
	}
	f.Last, f.Furthest, f.FurthestKnown, f.Estimated = c.Last, c.Furthest.Value, c.Furthest.Found, c.Estimated
	f.Behind, f.Used, f.CycleAhead = c.Behind(), c.Used(), c.CycleAhead()
	f.Limit, f.LimitedByColumn, f.Remaining = c.Limit(), c.LimitedByColumn(), c.Remaining()
	if c.Outlier.Found {
		f.Left = c.Outlier.Value
	}
	for _, key := range c.Narrow() {
		f.Narrow = append(f.Narrow, NarrowKey{
			Constraint: key.Constraint, Schema: key.Schema, Table: key.Table, Column: key.Column, Type: key.Shown,
			Limit: key.Limit, Used: key.Used, Remaining: key.Remaining,
		})
	}
	if c.Move != nil {
		f.Moved, f.From, f.To = c.Move.Moved, c.Move.From, c.Move.To
	}
	if e := c.Explained; e != nil {
		f.causes, f.Front = causesOf(e.Causes), frontOf(e.Front)
		f.Cause = f.causes[0]
	}
	return f
}
