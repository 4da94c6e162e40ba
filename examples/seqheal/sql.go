package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/catalog"
)

// printSQL writes the statements that would move what is behind, for psql.
func (s *session) printSQL(ctx context.Context, db *gorm.DB) (int, error) {
	all, err := s.look(ctx, db)
	if ctx.Err() != nil {
		return failure, unfinished(all, s.command)
	}
	if err == nil {
		err = s.selection.unmatched(ctx, db)
	}
	if err != nil {
		return failure, err
	}
	_, err = io.WriteString(s.out, s.script(all))
	return s.code(all), err
}

// script is one statement for each sequence that is behind, and remarks on the rest.
func (s *session) script(all []graded) string {
	moves, remarks := furthest(all), ""
	for _, f := range all {
		if f.level == exhausted || f.level == unreadable || f.level == behind && f.SQL() == "" {
			remarks += fmt.Sprintf("-- not moved: %s, %s: %s\n", named(f), f.level.spelled(), note(f))
			for _, step := range advice(f) {
				remarks += "--   " + shown(step) + "\n"
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "-- %s, seen at %s\n", s.server, time.Now().UTC().Format("2006-01-02 15:04:05 MST"))
	switch {
	case len(all) == 0:
		b.WriteString("-- nothing to move: no column draws its values from a sequence\n")
	case len(moves) == 0 && remarks == "":
		fmt.Fprintf(&b, "-- nothing to move: %s checked\n", columns(len(all)))
	case len(moves) > 0:
		fmt.Fprintf(&b, "-- moves %s forward, never backward; a second run moves nothing\n", plural(len(moves), "sequence", "sequences"))
	}
	for _, f := range moves {
		fmt.Fprintf(&b, "\n-- %s: the furthest row is %d, the sequence gave %d: %s forward\n%s\n",
			named(f), f.Furthest, f.Last, values(f.Behind), f.SQL())
	}
	if remarks != "" {
		b.WriteString("\n" + remarks)
	}
	for line := range strings.Lines(s.rights(all)) {
		b.WriteString("-- " + line)
	}
	return b.String()
}

// named names a column for people.
func named(f graded) string {
	return shown(catalog.Quote(f.Schema, f.Table) + "." + catalog.Quote(f.Column))
}

// furthest is of each sequence that is behind the column whose rows are furthest.
func furthest(all []graded) []graded {
	at := map[string]int{}
	var moves []graded
	for _, f := range all {
		if f.SQL() == "" {
			continue
		}
		i, known := at[f.Sequence]
		switch {
		case !known:
			at[f.Sequence] = len(moves)
			moves = append(moves, f)
		case f.Behind > moves[i].Behind:
			moves[i] = f
		}
	}
	return moves
}
