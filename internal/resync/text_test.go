package resync_test

import (
	"database/sql"
	"database/sql/driver"
	"io"
	"testing"
	"time"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/internal/resync"
)

type (
	valuer struct {
		value driver.Value
		err   error
	}
	tenant string
	region int
	color  int
)

func (v valuer) Value() (driver.Value, error) { return v.value, v.err }
func (color) String() string                  { return "red" }

// noon is one instant in a zone of its own, finer than the server keeps.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 123456999, time.FixedZone("", 5*3600+1800))

func TestTextWritesAKeyAsTheServerReadsIt(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		value any
		want  string
		ok    bool
	}{
		{"text", "it's", "it's", true},
		{"named text", tenant("north"), "north", true},
		{"int", 7, "7", true},
		{"int64", int64(-7), "-7", true},
		{"uint64", ^uint64(0), "18446744073709551615", true},
		{"named number", region(7), "7", true},
		{"time", noon, "2026-11-23 12:00:00.123456+05:30:00", true},
		{"valuer", valuer{value: "x"}, "x", true},
		{"valuer of a number", valuer{value: int64(7)}, "7", true},
		{"valuer of a time", sql.NullTime{Time: noon, Valid: true}, "2026-11-23 12:00:00.123456+05:30:00", true},
		{"valuer that fails", valuer{value: "x", err: io.EOF}, "", false},
		{"number with a name", color(7), "", false},
		{"null", sql.NullString{}, "", false},
		{"nil", nil, "", false},
		{"bytes", []byte("x"), "", false},
		{"fraction", 7.5, "", false},
		{"bool", true, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got, ok := resync.Text(test.value); got != test.want || ok != test.ok {
				t.Errorf("Text(%v) = %q, %v; want %q, %v", test.value, got, ok, test.want, test.ok)
			}
		})
	}
}

func TestATimeInThePrefixMeetsTheStoredOne(t *testing.T) {
	t.Parallel()
	for _, typname := range []string{"timestamptz", "timestamp", "date"} {
		t.Run(typname, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(`CREATE TABLE t (at ` + typname + `, id bigserial, PRIMARY KEY (at, id))`)
			p.Exec(`INSERT INTO t VALUES ($1, 20)`, noon)
			p.Exec(`INSERT INTO t VALUES ($1, 500)`, noon.AddDate(0, 0, 2))
			r := begin(t, p.Open(nil))
			text, ok := resync.Text(noon)
			got, err := r.look(&resync.Prefix{Columns: r.table.Key[:1], Values: []string{text}})
			if !ok || err != nil || got.Value != 20 {
				t.Errorf("Look = %+v, %v; want 20", got, err)
			}
		})
	}
}
