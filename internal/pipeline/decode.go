package pipeline

import (
	"database/sql/driver"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// decoder turns a value of the wire, never NULL, into what pgx's database/sql driver
// hands over. The proof compares the two: see [Pools.Support].
type decoder func(source []byte) (driver.Value, error)

func decoders(types *pgtype.Map, fields []pgconn.FieldDescription) []decoder {
	all := make([]decoder, len(fields))
	for i := range fields {
		all[i] = decoderOf(types, &fields[i])
	}
	return all
}

func decoderOf(types *pgtype.Map, field *pgconn.FieldDescription) decoder {
	switch field.DataTypeOID {
	case pgtype.BoolOID:
		return scanned[bool](types, field)
	case pgtype.Int2OID:
		return converted(types, field, func(n int16) driver.Value { return int64(n) })
	case pgtype.Int4OID:
		return converted(types, field, func(n int32) driver.Value { return int64(n) })
	case pgtype.Int8OID:
		return scanned[int64](types, field)
	case pgtype.Float4OID:
		return converted(types, field, func(n float32) driver.Value { return float64(n) })
	case pgtype.Float8OID:
		return scanned[float64](types, field)
	case pgtype.CIDOID, pgtype.OIDOID, pgtype.XIDOID:
		return valued[pgtype.Uint32](types, field)
	case pgtype.DateOID:
		return valued[pgtype.Date](types, field)
	case pgtype.TimestampOID:
		return valued[pgtype.Timestamp](types, field)
	case pgtype.TimestamptzOID:
		return valued[pgtype.Timestamptz](types, field)
	case pgtype.ByteaOID, pgtype.JSONOID, pgtype.JSONBOID, pgtype.XMLOID:
		return scanned[[]byte](types, field)
	}
	return scanned[string](types, field) // arrays, ranges, numerics and all others
}

// scanned hands over the value as it is scanned into a T.
func scanned[T any](types *pgtype.Map, field *pgconn.FieldDescription) decoder {
	return converted(types, field, func(value T) driver.Value { return value })
}

// converted hands over the value that is scanned into a T as another type.
func converted[T any](types *pgtype.Map, field *pgconn.FieldDescription, convert func(T) driver.Value) decoder {
	var value T
	plan := types.PlanScan(field.DataTypeOID, field.Format, &value)
	return func(source []byte) (driver.Value, error) {
		err := plan.Scan(source, &value)
		return convert(value), err
	}
}

// valued hands over what the T says of itself.
func valued[T driver.Valuer](types *pgtype.Map, field *pgconn.FieldDescription) decoder {
	var value T
	plan := types.PlanScan(field.DataTypeOID, field.Format, &value)
	return func(source []byte) (driver.Value, error) {
		if err := plan.Scan(source, &value); err != nil {
			return nil, err
		}
		return value.Value()
	}
}
