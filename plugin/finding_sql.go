package plugin

import (
	"fmt"

	"github.com/seqheal/seqheal/internal/catalog"
)

// longSteps is the distance from which on SQL sets the sequence instead of drawing
// the values between.
const longSteps = 500_000

// Statements that SQL writes. Each draws what one session caches and compares the last
// of it; where that is short of the furthest value it goes the whole steps that are
// left. A second run, or one for another column of the same sequence, only draws.
//
//	%[1]s sequence, as a literal   %[2]d its cache   %[3]s min or max   %[4]d furthest value
//	%[5]s the comparison "short of"   %[6]d increment
const (
	sqlNear = `SELECT CASE WHEN drawn.last %[5]s %[4]d
  THEN (SELECT pg_catalog.%[3]s(pg_catalog.nextval(%[1]s))
        FROM pg_catalog.generate_series(1, (` + sqlSteps + `)::pg_catalog.int8))` + sqlDraw
	sqlFar = `SELECT CASE WHEN drawn.last %[5]s %[4]d
  THEN pg_catalog.setval(%[1]s, (drawn.last + (%[6]d) * ` + sqlSteps + `)::pg_catalog.int8)` + sqlDraw
	sqlSteps = `pg_catalog.ceil(('%[4]d'::pg_catalog.numeric - drawn.last) / (%[6]d))`
	sqlDraw  = `
  ELSE drawn.last END AS moved_to
FROM (SELECT pg_catalog.%[3]s(pg_catalog.nextval(%[1]s)) AS last
      FROM pg_catalog.generate_series(1, %[2]d) OFFSET 0) AS drawn;`
)

// SQL is a statement, ready to paste into psql, that does for this sequence what
// Resync would: it draws the values up to the furthest one, or draws, compares and sets
// at once, so that it never moves the sequence backwards and may be run again. It is
// empty when there is nothing to move.
func (f Finding) SQL() string {
	if f.State != StateBehind || f.Estimated {
		return ""
	}
	aggregate, short, text := "max", "<", sqlNear
	if f.Increment < 0 {
		aggregate, short = "min", ">"
	}
	if f.Behind > longSteps {
		text = sqlFar
	}
	return fmt.Sprintf(text, catalog.Literal(f.Sequence), max(1, f.Cache), aggregate, f.Furthest, short, f.Increment)
}
