package heal

import (
	"github.com/seqheal/seqheal/internal/facts"
)

// rememberNamed keeps which ids a statement that was stored has named, when, and from
// where. An upsert that may have changed rows that were there before shows nothing.
func (in *insert) rememberNamed() {
	stmt := in.stmt
	if in.memory == nil || stmt.DB.Error != nil {
		return
	}
	if upsert := stmt.Insert.OnConflict; upsert != nil && (!upsert.DoNothing || stmt.DB.RowsAffected < int64(stmt.Insert.Rows())) {
		return
	}
	column := stmt.KeyColumn()
	if stmt.DB.Statement.Schema == nil {
		if entry := in.tables.Get(stmt.Target); entry != nil && entry.Table.Fed() {
			column = fedColumn(entry.Table)
		}
	}
	highest, ok := stmt.Insert.Highest(column)
	if !ok {
		return
	}
	named := &facts.Named{Highest: highest, Column: column, At: stmt.Sent}
	named.Sender.Record()
	in.memory.NamedIDs(named)
}

// rememberDrawn keeps the id that a statement which was stored has drawn, and when.
func (in *insert) rememberDrawn() {
	if in.memory == nil || in.stmt.DB.Error != nil {
		return
	}
	if id, ok := in.stmt.DrawnID(); ok {
		in.memory.Drew(in.stmt.KeyColumn(), id, in.highest, in.stmt.Sent)
	}
}
