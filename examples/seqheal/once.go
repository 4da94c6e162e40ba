package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/plugin"
)

// once audits, or fixes, and prints what it found.
func (s *session) once(ctx context.Context, db *gorm.DB) (int, error) {
	all, err := s.look(ctx, db)
	interrupted := ctx.Err() != nil
	if interrupted {
		err = unfinished(all, s.command)
	}
	if err == nil {
		err = errors.Join(s.selection.unmatched(ctx, db), s.compared(all))
	}
	if err != nil && len(all) == 0 {
		return failure, err
	}
	if write := s.print(s.seen(all, interrupted)); write != nil {
		return failure, write
	}
	code := s.code(all)
	if err == nil && code == attention {
		s.sayWhatIsMissing(all)
	}
	return code, err
}

// look audits. Its error is not that of single tables: their findings have that.
func (s *session) look(ctx context.Context, db *gorm.DB) ([]graded, error) {
	options := s.auditOptions()
	if s.diagnostics.lively && !s.quiet && s.command != commandWatch {
		bar := &bar{out: s.diagnostics}
		defer bar.clear()
		options = append(options, plugin.OnProgress(bar.show))
	}
	findings, err := plugin.Audit(ctx, db, options...)
	if !slices.ContainsFunc(findings, gaveUp) && ctx.Err() == nil && len(findings) > 0 {
		err = nil
	}
	return s.grade(findings), err
}

// gaveUp reports whether the audit ended before it came to the finding.
func gaveUp(f plugin.Finding) bool {
	return f.Reason == plugin.ReasonCanceled || f.Reason == plugin.ReasonConnection
}

func (s *session) auditOptions() []plugin.AuditOption {
	options := append(s.selection.options(), plugin.WithForecast(s.earlier...),
		plugin.WithTableTimeout(time.Duration(s.timeout)), plugin.WithNearlyExhausted(float64(s.warn)/100))
	if s.command == commandFix {
		options = append(options, plugin.AndResync())
	}
	if s.explain {
		options = append(options, plugin.WithCauses())
	}
	if s.unused {
		options = append(options, plugin.WithUnusedSequences())
	}
	return options
}

// readEarlier reads what -json has written, of audit or of watch.
func readEarlier(name string) ([]plugin.Finding, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("-since: %w", err)
	}
	defer func() { _ = file.Close() }()
	var findings []plugin.Finding
	decoder := json.NewDecoder(file)
	for {
		var text json.RawMessage
		if err := decoder.Decode(&text); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("-since %s: not the JSON of a former run: %w", name, err)
		}
		some := make([]plugin.Finding, 1)
		var into any = &some[0]
		if text[0] == '[' {
			into = &some
		}
		if err := json.Unmarshal(text, into); err != nil {
			return nil, fmt.Errorf("-since %s: not the JSON of a former run: %w", name, err)
		}
		findings = append(findings, some...)
	}
	if len(findings) == 0 || findings[0].Time.IsZero() {
		return nil, fmt.Errorf("-since %s: no findings of a former run in it", name)
	}
	return findings, nil
}

// compared is an error when a former run has none of the columns.
func (s *session) compared(all []graded) error {
	if s.since == "" || len(all) == 0 {
		return nil
	}
	had := map[[4]string]bool{}
	for _, f := range s.earlier {
		had[place(f)] = true
	}
	if slices.ContainsFunc(all, func(f graded) bool { return had[place(f.Finding)] }) {
		return nil
	}
	return fmt.Errorf("-since %s: none of its columns is in %s", s.since, s.server)
}

// place is what a finding is of.
func place(f plugin.Finding) [4]string { return [4]string{f.Schema, f.Table, f.Column, f.Sequence} }

// seen leaves out what an interrupted run did not come to.
func (s *session) seen(all []graded, interrupted bool) []graded {
	if !interrupted {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(f graded) bool { return f.State == plugin.StateUnreadable && gaveUp(f.Finding) })
}

// unfinished says how much an interrupted run did.
func unfinished(all []graded, command string) error {
	unread, unmoved := 0, 0
	for _, f := range all {
		switch {
		case f.Reason != plugin.ReasonCanceled:
		case f.State == plugin.StateUnreadable:
			unread++
		default:
			unmoved++
		}
	}
	switch {
	case len(all) == 0:
		return errors.New("interrupted before anything was looked at")
	case command == commandFix && unread == 0:
		return fmt.Errorf("interrupted: %s looked at, %s not moved", columns(len(all)), columns(unmoved))
	}
	return fmt.Errorf("interrupted: %d of %s looked at, %d not", len(all)-unread, columns(len(all)), unread)
}

// sayWhatIsMissing adds to exit code 1 what code 3 would have said.
func (s *session) sayWhatIsMissing(all []graded) {
	missing := 0
	for _, f := range all {
		if f.level == unreadable {
			missing++
		}
	}
	if missing > 0 && !s.json && !s.csv {
		_, _ = fmt.Fprintf(s.diagnostics, "seqheal: %s could not be looked at, either\n", columns(missing))
	}
}
