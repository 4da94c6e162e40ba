package statement

import (
	"maps"
	"reflect"
	"slices"

	"gorm.io/gorm/schema"
)

// Keep records what GORM fills from RETURNING, as it is before the first sending, for
// [Statement.Undo]: structs, whose every column RETURNING may name, a map, or a slice of maps, to
// which it appends. RETURNING without columns fills a slice's own array from the beginning.
func (s *Statement) Keep() {
	if s.undo != nil {
		return
	}
	s.undo = []func(){}
	value := s.DB.Statement.ReflectValue
	switch value.Kind() {
	case reflect.Struct:
		s.keepElement(value)
	case reflect.Map:
		s.keepMap(value)
	case reflect.Slice, reflect.Array:
		if value.CanSet() {
			s.keep(value)
		}
		for i := range value.Len() {
			at := value.Index(i)
			if at.Kind() == reflect.Pointer && at.CanSet() {
				s.keep(at)
			}
			if element := reflect.Indirect(at); element.Kind() == reflect.Struct {
				s.keepElement(element)
			}
		}
	}
}

// keepElement keeps a struct and what it embeds by pointers.
func (s *Statement) keepElement(element reflect.Value) {
	if element.CanSet() {
		s.keep(element)
	}
	if s.DB.Statement.Schema == nil {
		return
	}
	for _, field := range s.DB.Statement.Schema.Fields {
		if field.DBName != "" && slices.ContainsFunc(field.StructField.Index, func(i int) bool { return i < 0 }) {
			s.keep(reach(element, field))
		}
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
