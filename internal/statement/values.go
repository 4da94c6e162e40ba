package statement

import "reflect"

// Keep records the fields that GORM fills from RETURNING, as they are before the first
// sending, for [Statement.Undo].
func (s *Statement) Keep() {
	if s.kept != nil || s.DB.Statement.Schema == nil {
		return
	}
	s.kept = [][]any{}
	s.eachElement(func(_ int, element reflect.Value) {
		var values []any
		for _, field := range s.DB.Statement.Schema.FieldsWithDefaultDBValue {
			values = append(values, field.ReflectValueOf(s.DB.Statement.Context, element).Interface())
		}
		s.kept = append(s.kept, values)
	})
}

// Undo puts these fields back: the rows of a sending that was rolled back are not
// stored. GORM chooses by them which elements the rows of the next sending belong to.
func (s *Statement) Undo() {
	s.eachElement(func(i int, element reflect.Value) {
		if i >= len(s.kept) {
			return
		}
		for n, field := range s.DB.Statement.Schema.FieldsWithDefaultDBValue {
			field.ReflectValueOf(s.DB.Statement.Context, element).Set(reflect.ValueOf(s.kept[i][n]))
		}
	})
}

// eachElement calls fn for each struct that the statement inserts.
func (s *Statement) eachElement(fn func(int, reflect.Value)) {
	value := s.DB.Statement.ReflectValue
	switch value.Kind() {
	case reflect.Struct:
		fn(0, value)
	case reflect.Slice, reflect.Array:
		for i := range value.Len() {
			if element := reflect.Indirect(value.Index(i)); element.Kind() == reflect.Struct {
				fn(i, element)
			}
		}
	}
}
