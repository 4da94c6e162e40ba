package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/plugin"
)

// note is what the numbers do not say, in a few words.
func note(f graded) string {
	var notes []string
	add := func(format string, arguments ...any) { notes = append(notes, fmt.Sprintf(format, arguments...)) }
	if f.level == unused {
		return unusedNote(f)
	}
	if f.Moved {
		add("moved %d → %d", f.From, f.To)
	}
	if f.level == exhausted {
		add("no value left before %d", f.Limit)
	} else if f.LimitedByColumn && (f.level == warning || f.level == critical) {
		add("the column ends at %d, before its sequence", f.Limit)
	}
	for _, key := range f.Narrow {
		add("%s", narrow(key))
	}
	switch {
	case f.CycleAhead > 0:
		add("cycles, and a row lies %s ahead", values(f.CycleAhead))
	case f.Cycle:
		add("cycles")
	}
	if f.Subscribed && (f.Increment == 1 || f.Increment == -1) {
		add("a subscription writes into it: if this side inserts too, keep the ids apart with INCREMENT BY 2 on both sides")
	}
	if f.Estimated {
		add("estimated: no index begins with the column")
	}
	if f.Left != 0 {
		add("a row at %d is passed over: moving there would use up the range", f.Left)
	}
	if f.Err != nil {
		add("%s", trouble(f))
	}
	return shown(strings.Join(notes, "; "))
}

// advice is what to do about a finding, as SQL where that is possible; empty where fix
// does it, or where nothing is to be done.
func advice(f graded) []string {
	var steps []string
	column := catalog.Quote(f.Column)
	switch {
	case f.level == exhausted, f.level == critical && share(f.Finding) == f.Used:
		if strings.HasPrefix(f.Type, "bigint") {
			break
		}
		steps = append(steps, fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s TYPE bigint; ALTER SEQUENCE %s AS bigint;", f.QuotedTable(), column, f.Sequence))
	case f.level == cycles:
		steps = append(steps, fmt.Sprintf("ALTER SEQUENCE %s NO CYCLE;", f.Sequence))
	case f.Estimated, f.Reason == plugin.ReasonNoIndex:
		steps = append(steps, fmt.Sprintf("CREATE INDEX CONCURRENTLY ON %s (%s);", f.QuotedTable(), column))
	}
	for _, key := range f.Narrow {
		if f.level <= warning && key.Used == share(f.Finding) {
			steps = append(steps, fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s TYPE %s;", catalog.Quote(key.Schema, key.Table), catalog.Quote(key.Column), shortType(f.Type)))
		}
	}
	return steps
}

// shortType is the type without its modifier.
func shortType(name string) string {
	short, _, _ := strings.Cut(name, "(")
	return short
}

func unusedNote(f graded) string {
	text := "nothing in the catalog draws from sequence " + f.Sequence
	if f.Table != "" {
		text += ", which the column owns"
	}
	return shown(text)
}

func narrow(key plugin.NarrowKey) string {
	at := key.Schema + "." + key.Table + "." + key.Column
	if key.Remaining == 0 {
		return fmt.Sprintf("foreign key %s is %s and cannot hold the new values", at, key.Type)
	}
	return fmt.Sprintf("foreign key %s is %s: %s used, %s left", at, key.Type, percent(key.Used), count(key.Remaining))
}

// trouble is why a column was not read, or its sequence not moved.
func trouble(f graded) string {
	text := ""
	if f.level != unreadable && f.level != skipped {
		text = "not moved: "
	}
	switch f.Reason {
	case plugin.ReasonPermission:
		return text + "a right is missing, see below"
	case plugin.ReasonRowSecurity:
		return text + "row-level security hides rows, see below"
	case plugin.ReasonReadOnly:
		return text + "the connection only reads, as a standby does: connect to the primary"
	case plugin.ReasonTimeout:
		return text + "a lock was held, or the time was up: try again, or with a longer -timeout"
	case plugin.ReasonExhausted:
		return text + "no value is left"
	case plugin.ReasonNoIndex:
		return text + "no index begins with the column"
	case plugin.ReasonNotFound:
		return text + "it was dropped or renamed during the run"
	case plugin.ReasonCanceled:
		return text + "interrupted"
	}
	return text + plainly(f)
}

// explained is trouble for who sees this finding alone: with the very GRANT.
func explained(f graded) string {
	if f.Reason != plugin.ReasonPermission && f.Reason != plugin.ReasonRowSecurity {
		return trouble(f)
	}
	text, _, _ := strings.Cut(plainly(f), ", or give plugin.")
	return text
}

// plainly is the error without the table's name, which stands beside it.
func plainly(f graded) string {
	var server *pgconn.PgError
	if errors.As(f.Err, &server) {
		return server.Message
	}
	text := strings.TrimPrefix(strings.TrimPrefix(f.Err.Error(), "table "+f.QuotedTable()), ": ")
	return strings.TrimSuffix(text, ", so its values cannot be compared with the sequence's")
}
