package statement

import (
	"reflect"

	"gorm.io/gorm/clause"
)

// KeyColumn is the column that a table's sequence most likely feeds, as far as the model
// says: its primary key, or "id" without a model.
func (s *Statement) KeyColumn() string {
	if s.DB.Statement.Schema == nil {
		return "id"
	}
	return s.PrimaryColumn()
}

// DrawnID is the id that came back of the last row of a statement that was stored, where
// the database has chosen the ids of all rows and they are integers. It reports false
// for an upsert, which may answer the ids of rows that were there before.
func (s *Statement) DrawnID() (id int64, ok bool) {
	stmt := s.DB.Statement
	if !s.Readable || s.Insert.OnConflict != nil || stmt.Schema == nil || s.DB.RowsAffected == 0 {
		return 0, false
	}
	field := stmt.Schema.PrioritizedPrimaryField
	if field == nil || s.Insert.Omitted(field.DBName) != s.Insert.Rows() || !s.returns(field.DBName) {
		return 0, false
	}
	element := stmt.ReflectValue
	if kind := element.Kind(); kind == reflect.Slice || kind == reflect.Array {
		if element.Len() == 0 {
			return 0, false
		}
		element = reflect.Indirect(element.Index(element.Len() - 1))
	}
	if element.Kind() != reflect.Struct || element.Type() != stmt.Schema.ModelType {
		return 0, false
	}
	switch value := field.ReflectValueOf(stmt.Context, element); {
	case value.CanInt():
		return value.Int(), true
	case value.CanUint():
		return int64(value.Uint()), true // beyond int64 it is negative, and no id
	}
	return 0, false
}

// returns reports whether the statement asks the column back.
func (s *Statement) returns(column string) bool {
	for _, c := range s.clauses {
		if c.name != "RETURNING" {
			continue
		}
		returning, ok := c.clause.Expression.(clause.Returning)
		if !ok {
			return false
		}
		for _, returned := range returning.Columns {
			if returned.Name == column {
				return true
			}
		}
		return s.Insert.BareReturning
	}
	return false
}
