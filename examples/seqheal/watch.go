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
		now = shown(s.reason(err))
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

// change is a finding of which something else holds than before.
type change struct {
	before, now *graded
}

// changes compares two looks.
func changes(before, now []graded) []change {
	old := map[[4]string]*graded{}
	for i := range before {
		old[place(before[i].Finding)] = &before[i]
	}
	var all []change
	for i := range now {
		f := &now[i]
		was := old[place(f.Finding)]
		delete(old, place(f.Finding))
		if was == nil || was.level != f.level || was.Behind != f.Behind || was.Reason != f.Reason {
			all = append(all, change{was, f})
		}
	}
	for i := range before {
		if f := &before[i]; old[place(f.Finding)] != nil {
			all = append(all, change{f, nil})
		}
	}
	return all
}

// shows reports whether the flags let one of both through.
func (o *options) shows(c change) bool {
	for _, f := range []*graded{c.before, c.now} {
		if f != nil && len(o.visible([]graded{*f})) > 0 {
			return true
		}
	}
	return false
}

// printChanges writes what changed, in lines, or the new findings as JSON or CSV.
func (s *session) printChanges(before, now []graded) error {
	var changed []graded
	lines := ""
	for _, c := range changes(before, now) {
		if !s.shows(c) {
			continue
		}
		if c.now != nil {
			changed = append(changed, *c.now)
		}
		lines += c.String() + "\n"
	}
	switch {
	case s.json:
		return s.printJSON(changed)
	case s.csv:
		return s.printCSV(changed)
	}
	_, err := fmt.Fprint(s.out, lines)
	return err
}

func (c change) String() string {
	from, to, of := "new", "gone", c.now
	if c.before != nil {
		from = described(*c.before)
	}
	if c.now != nil {
		to = described(*c.now)
	} else {
		of = c.before
	}
	return fmt.Sprintf("%s  %s  %s → %s", clock(), named(*of), from, to)
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
