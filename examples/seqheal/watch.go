package main

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"
)

// watch looks again and again until it is interrupted, and prints what changed. Its exit
// code is that of the last look.
func (s *session) watch(ctx context.Context, db *gorm.DB) (int, error) {
	all, err := s.look(ctx, db)
	if err == nil {
		err = s.selection.unmatched(ctx, db)
	}
	if err == nil {
		err = s.print(all)
	}
	if ctx.Err() != nil {
		return failure, unfinished(all, s.command)
	}
	if err != nil {
		return failure, err
	}
	tick := time.NewTicker(time.Duration(s.every))
	defer tick.Stop()
	trouble := ""
	for {
		select {
		case <-ctx.Done():
			return s.code(all), nil
		case <-tick.C:
		}
		now, err := s.look(ctx, db)
		if ctx.Err() != nil {
			return s.code(all), nil
		}
		if trouble = s.report(trouble, err); err != nil {
			continue
		}
		if err := s.printChanges(all, now); err != nil {
			return failure, err
		}
		all = now
	}
}

// report writes an error when it is another one than that of the look before.
func (s *session) report(before string, err error) string {
	now := ""
	if err != nil {
		now = shown(withoutPassword(s.dsn, err))
	}
	switch {
	case now == before:
	case now == "":
		_, _ = fmt.Fprintf(s.diagnostics, "seqheal: %s  the server answers again\n", clock())
	default:
		_, _ = fmt.Fprintf(s.diagnostics, "seqheal: %s  %s\n", clock(), now)
	}
	return now
}

// printChanges writes the findings of which something else holds than before.
func (s *session) printChanges(before, now []graded) error {
	old := map[[4]string]graded{}
	for _, f := range before {
		old[place(f.Finding)] = f
	}
	var changed []graded
	lines := ""
	for _, f := range now {
		was, known := old[place(f.Finding)]
		delete(old, place(f.Finding))
		if known && was.level == f.level && was.Behind == f.Behind && was.Reason == f.Reason {
			continue
		}
		if len(s.visible([]graded{f})) == 0 && (!known || len(s.visible([]graded{was})) == 0) {
			continue
		}
		changed = append(changed, f)
		from := "new"
		if known {
			from = described(was)
		}
		lines += fmt.Sprintf("%s  %s  %s → %s\n", clock(), named(f), from, described(f))
	}
	for _, f := range before {
		if _, gone := old[place(f.Finding)]; gone && len(s.visible([]graded{f})) > 0 {
			lines += fmt.Sprintf("%s  %s  %s → gone\n", clock(), named(f), described(f))
		}
	}
	switch {
	case s.json:
		return s.printJSON(changed)
	case s.csv && len(changed) > 0:
		return s.printCSV(changed)
	case s.csv:
		return nil
	}
	_, err := fmt.Fprint(s.out, lines)
	return err
}

// described is a finding in a few words.
func described(f graded) string {
	switch f.level {
	case behind:
		return fmt.Sprintf("behind by %s", count(f.Behind))
	case critical, warning:
		return fmt.Sprintf("%s, %s used, %s left", f.level.spelled(), percent(share(f.Finding)), count(f.Remaining))
	case unreadable:
		return f.level.spelled() + ": " + shown(trouble(f))
	}
	return f.level.spelled()
}

func clock() string { return time.Now().Format("15:04:05") }
