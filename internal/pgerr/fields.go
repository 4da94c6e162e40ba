package pgerr

import "reflect"

// stater is what a server error of pgx v4 can do.
type stater interface {
	error
	SQLState() string
}

// fieldNames are the fields of *pgconn.PgError of github.com/jackc/pgconn, in the order of
// [Error]'s. Forks of pgx keep them.
var fieldNames = [...]string{"Code", "Message", "Detail", "SchemaName", "TableName", "ConstraintName", "Routine"}

// fromFields searches err's tree, depth first as [errors.As] does, for an error that has
// SQLState and all of fieldNames.
func fromFields(err error) (Error, bool) {
	if s, ok := err.(stater); ok {
		if found, ok := readFields(s); ok {
			return found, true
		}
	}
	switch wrapper := err.(type) {
	case interface{ Unwrap() error }:
		return fromFields(wrapper.Unwrap())
	case interface{ Unwrap() []error }:
		for _, err := range wrapper.Unwrap() {
			if found, ok := fromFields(err); ok {
				return found, true
			}
		}
	}
	return Error{}, false
}

// readFields reads fieldNames of a pointer to a struct. It reports false if one is not
// there, or is no string of the struct's own.
func readFields(s stater) (Error, bool) {
	pointer := reflect.ValueOf(s)
	if pointer.Kind() != reflect.Pointer || pointer.IsNil() || pointer.Elem().Kind() != reflect.Struct {
		return Error{}, false
	}
	var texts [len(fieldNames)]string
	for i, name := range fieldNames {
		field, ok := pointer.Elem().Type().FieldByName(name)
		if !ok || len(field.Index) != 1 || field.Type.Kind() != reflect.String {
			return Error{}, false
		}
		texts[i] = pointer.Elem().FieldByIndex(field.Index).String()
	}
	return Error{texts[0], texts[1], texts[2], texts[3], texts[4], texts[5], texts[6]}, true
}
