package plugin

import (
	"fmt"
	"strings"

	"github.com/seqheal/seqheal/internal/catalog"
)

// longSteps is the distance from which on SQL sets the sequence instead of drawing
// the values between.
const longSteps = 500_000

// Statements that SQL writes. Each draws what one session caches and compares the last
// of it; where that is short of the furthest value it goes the whole steps that are
// left. A second run, or one for another column of the same sequence, only draws.
//
//	%[1]s what is drawn first   %[2]s the comparison "short of"   %[3]d furthest value   %[4]s sequence, as a literal
//	%[5]s min or max   %[6]s the steps that are left   %[7]s the value to set
const (
	sqlNear = sqlCase + `(SELECT pg_catalog.%[5]s(pg_catalog.nextval(%[4]s))
        FROM pg_catalog.generate_series(1, %[6]s))` + sqlDraw
	sqlFar  = sqlCase + `pg_catalog.setval(%[4]s, %[7]s)` + sqlDraw
	sqlCase = `SELECT CASE WHEN drawn.last %[2]s %[3]d
  THEN `
	sqlDraw = `
  ELSE drawn.last END AS moved_to
FROM (SELECT %[1]s OFFSET 0) AS drawn;`
)

// SQL is a statement, ready to paste into psql, that does for this sequence what
// [Resync] would: it draws the values up to the furthest one, or draws, compares and sets
// at once, so that it never moves the sequence backwards and may be run again. It is
// empty when there is nothing to move.
func (f Finding) SQL() string {
	if f.State != StateBehind || f.Estimated {
		return ""
	}
	sequence := strings.TrimSpace(catalog.Literal(f.Sequence))
	aggregate, short, text := "max", "<", sqlNear
	if f.Increment < 0 {
		aggregate, short = "min", ">"
	}
	if f.Behind > longSteps {
		text = sqlFar
	}
	drawn := fmt.Sprintf("pg_catalog.nextval(%s) AS last", sequence)
	if f.Cache > 1 {
		drawn = fmt.Sprintf("pg_catalog.%s(pg_catalog.nextval(%s)) AS last FROM pg_catalog.generate_series(1, %d)", aggregate, sequence, f.Cache)
	}
	// Numeric keeps the difference of two int8 from overflowing.
	way := fmt.Sprintf("pg_catalog.ceil(('%d'::pg_catalog.numeric - drawn.last) / (%d))", f.Furthest, f.Increment)
	steps := way + "::pg_catalog.int8"
	value := fmt.Sprintf("(drawn.last + (%d) * %s)::pg_catalog.int8", f.Increment, way)
	if f.Increment == 1 {
		steps, value = fmt.Sprintf("('%d'::pg_catalog.numeric - drawn.last)::pg_catalog.int8", f.Furthest), fmt.Sprint(f.Furthest)
	}
	return fmt.Sprintf(text, drawn, short, f.Furthest, sequence, aggregate, steps, value)
}
