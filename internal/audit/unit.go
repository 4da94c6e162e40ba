package audit

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/seqheal/seqheal/internal/catalog"
)

// unit is what one row of a look answers: the column of one table, or of a part of
// one that is too large to be locked at once.
type unit struct {
	column *Column
	// from is the table's name, ready for SQL text, with ONLY before a part.
	from string
	// indexed is false where only a scan from end to end tells; the size of parts,
	// oids, then decides whether there is one.
	indexed bool
	parts   []int64
	// locks is how many relations the look locks.
	locks int64
	// last is true for the unit that reads the sequence too. It comes last, for what
	// is inserted between two statements lies behind a sequence that is read later.
	last bool
}

// unitsOf divides the column's table into what can be locked at once.
func unitsOf(c *Column) []unit {
	whole := unit{
		column: c, from: c.QuotedName(), indexed: c.indexed(), parts: []int64{c.OID}, locks: 2 + c.Indexes, last: true,
	}
	splittable := true
	for _, d := range c.Below {
		whole.locks += 1 + d.Indexes
		whole.parts = append(whole.parts, d.OID)
		splittable = splittable && d.Selectable
	}
	if whole.locks <= locksAtOnce || !splittable || len(c.Below) == 0 {
		return []unit{whole}
	}
	var units []unit
	for _, d := range c.Below {
		if d.Storage || d.Foreign {
			units = append(units, unit{
				column: c, from: "ONLY " + catalog.Quote(d.Schema, d.Name), indexed: d.Indexed || d.Foreign, parts: []int64{d.OID}, locks: 1 + d.Indexes,
			})
		}
	}
	return append(units, unit{
		column: c, from: "ONLY " + c.QuotedName(), indexed: c.Partitioned || c.Indexed, parts: []int64{c.OID}, locks: 2 + c.Indexes, last: true,
	})
}

// indexed reports whether an index tells the furthest value of every table that
// holds rows. A foreign table's is on its own server, and taken to be there.
func (c *Column) indexed() bool {
	if !c.Partitioned && !c.Foreign && !c.Indexed {
		return false
	}
	for _, d := range c.Below {
		if d.Storage && !d.Indexed {
			return false
		}
	}
	return true
}

// lookUnit answers the furthest value of one unit, a row:
//
//	place     the unit's place in the statement
//	large     it has no fitting index and is too large to be read from end to end
//	furthest  null when large, or without rows in the sequence's range
//	last      the sequence's last value, null where this unit does not read it, and where
//	          it was never called and the role has only USAGE
//	called    false when the last value is still to be given
//	default   null; see lookDefaults
//
// Sequences are read after the statement's snapshot was taken: a row that the
// snapshot shows was drawn before.
//
//	%[1]d place   %[2]s large   %[3]s aggregate   %[4]s column   %[5]s table
//	%[6]s the sequence's bounds   %[7]s where the last value comes from
const lookUnit = `SELECT %[1]d, %[2]s,
  CASE WHEN NOT (%[2]s) THEN (SELECT pg_catalog.%[3]s(%[4]s)::pg_catalog.int8 FROM %[5]s%[6]s) END,
  s.last_value, s.is_called, NULL::pg_catalog.text
FROM %[7]s s`

// withinBounds leaves out the rows beyond the sequence's range. It is left out where
// no row can be beyond the far end, because planning it takes longer than planning the
// rest (measured for 66 tables: 8.5 ms against 3.1).
const withinBounds = " WHERE %[1]s BETWEEN '%[2]d'::pg_catalog.int8 AND '%[3]d'::pg_catalog.int8"

// boundsOf is the condition that keeps a column within its sequence's range, empty where
// the column's type ends there.
func boundsOf(c *Column) string {
	seq := c.Sequence
	low, high := int64(math.MinInt64), int64(math.MaxInt64)
	switch c.Key[c.Column].Type {
	case "int2":
		low, high = math.MinInt16, math.MaxInt16
	case "int4":
		low, high = math.MinInt32, math.MaxInt32
	case "int8":
	default:
		return fmt.Sprintf(withinBounds, catalog.Quote(c.FedColumn()), seq.Min, seq.Max)
	}
	if seq.Descending() && seq.Min <= low || !seq.Descending() && seq.Max >= high {
		return ""
	}
	return fmt.Sprintf(withinBounds, catalog.Quote(c.FedColumn()), seq.Min, seq.Max)
}

// lookDefaults answers the texts of the columns' defaults in rows like those of lookUnit,
// for all units at once: one by one they take a third of the statement's time (measured).
// They are asked for beside the tables because that locks the tables.
//
//	place    -1 for the first unit, -2 for the second
//	default  the text of the column's default, null without one
//
//	%s  the oids of the defaults, 0 for none, in the order of the units
const lookDefaults = `SELECT -e.place::pg_catalog.int4, false, NULL::pg_catalog.int8, NULL::pg_catalog.int8, NULL::pg_catalog.bool,
  (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d WHERE d.oid = e.oid::pg_catalog.oid)
FROM pg_catalog.unnest(ARRAY[%s]::pg_catalog.int8[]) WITH ORDINALITY e(oid, place)`

// defaultsOf is the part of a statement that asks for the defaults of units.
func defaultsOf(units []unit) string {
	oids := make([]string, len(units))
	for i, u := range units {
		oids[i] = strconv.FormatInt(u.column.DefaultOID, 10)
	}
	return fmt.Sprintf(lookDefaults, strings.Join(oids, ","))
}

// Where the last value comes from: the server's function, which waits for a session that is
// drawing, and before the first value the sequence itself; for a role with USAGE alone
// the function; nowhere. In a caller's transaction the sequence alone, for the function
// locks it until the transaction's end, whatever is rolled back before (measured); read
// as a table it can show for a moment what nextval only writes to the log, up to 32
// steps ahead (measured).
const (
	lastBoth = `(SELECT coalesce(l.v, q.last_value) AS last_value, l.v IS NOT NULL AS is_called
  FROM (SELECT pg_catalog.pg_sequence_last_value(%d::pg_catalog.oid::pg_catalog.regclass) AS v OFFSET 0) l, %s q)`
	lastAsked    = "(SELECT pg_catalog.pg_sequence_last_value(%d::pg_catalog.oid::pg_catalog.regclass) AS last_value, true AS is_called)"
	lastNotAsked = "(SELECT NULL::pg_catalog.int8 AS last_value, NULL::pg_catalog.bool AS is_called)"
)

func lastFrom(seq catalog.Sequence, inside bool) string {
	switch {
	case seq.CanRead && inside:
		return seq.QuotedName()
	case seq.CanRead:
		return fmt.Sprintf(lastBoth, seq.OID, seq.QuotedName())
	}
	return fmt.Sprintf(lastAsked, seq.OID)
}

// tooLarge is true when the tables with these oids hold more than so many bytes.
const tooLarge = `(SELECT pg_catalog.sum(pg_catalog.pg_relation_size(o::pg_catalog.oid::pg_catalog.regclass)) > %d
    FROM pg_catalog.unnest(ARRAY[%s]::pg_catalog.int8[]) o)`

// text is the unit's part of a statement.
func (u unit) text(place int, inside bool) string {
	seq := u.column.Sequence
	large, last := "false", lastNotAsked
	if !u.indexed {
		oids := make([]string, len(u.parts))
		for i, oid := range u.parts {
			oids[i] = strconv.FormatInt(oid, 10)
		}
		large = fmt.Sprintf(tooLarge, smallTable, strings.Join(oids, ","))
	}
	if u.last {
		last = lastFrom(seq, inside)
	}
	return fmt.Sprintf(lookUnit, place, large, seq.Aggregate(), catalog.Quote(u.column.FedColumn()), u.from, boundsOf(u.column), last)
}
