package statement

import (
	"maps"
	"reflect"

	"gorm.io/gorm/schema"
)

// Keep records what GORM fills from RETURNING, as it is before the first sending, for
// [Statement.Undo]: fields of structs, a map, or a slice of maps, to which it appends.
func (s *Statement) Keep() {
	stmt := s.DB.Statement
	if s.undo != nil || stmt.Schema == nil {
		return
	}
	s.undo = []func(){}
	value := stmt.ReflectValue
	switch value.Kind() {
	case reflect.Struct:
		s.keepFields(value)
	case reflect.Map:
		s.keepMap(value)
	case reflect.Slice, reflect.Array:
		if value.CanSet() {
			s.keep(value)
		}
		for i := range value.Len() {
			if element := reflect.Indirect(value.Index(i)); element.Kind() == reflect.Struct {
				s.keepFields(element)
			}
		}
	}
}

func (s *Statement) keepFields(element reflect.Value) {
	for _, field := range s.DB.Statement.Schema.FieldsWithDefaultDBValue {
		s.keep(reach(element, field))
	}
}

func (s *Statement) keep(at reflect.Value) {
	was := reflect.New(at.Type()).Elem()
	was.Set(at)
	s.undo = append(s.undo, func() { at.Set(was) })
}

func (s *Statement) keepMap(value reflect.Value) {
	if m, ok := value.Interface().(map[string]any); ok {
		was := maps.Clone(m)
		s.undo = append(s.undo, func() {
			clear(m)
			maps.Copy(m, was)
		})
	}
}

// reach is a field, or the first nil pointer on the way to it: GORM allocates what is
// embedded by a pointer when it fills or asks for a field in there.
func reach(element reflect.Value, field *schema.Field) reflect.Value {
	at, index := element, field.StructField.Index
	for n, i := range index {
		if i >= 0 {
			at = at.Field(i)
			continue
		}
		at = at.Field(-i - 1) // embedded by a pointer
		if at.IsNil() {
			return at
		}
		if n < len(index)-1 {
			at = at.Elem()
		}
	}
	return at
}

// Undo puts back what Keep has recorded: the rows of a sending that was rolled back are not
// stored. GORM chooses by these values which elements the rows of the next sending belong to.
func (s *Statement) Undo() {
	for _, undo := range s.undo {
		undo()
	}
}
