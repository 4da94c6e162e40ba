package sequence_test

import (
	"database/sql"
	"database/sql/driver"
	"io"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/internal/sequence"
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
			if got, ok := sequence.Text(test.value); got != test.want || ok != test.ok {
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
			text, ok := sequence.Text(noon)
			got, err := r.look(&sequence.Prefix{Columns: r.table.Key[:1], Values: []string{text}})
			if !ok || err != nil || got.Value != 20 {
				t.Errorf("Look = %+v, %v; want 20", got, err)
			}
		})
	}
}

// FuzzText: what is written of a number, a text or a time reads back as the same
// one, a time to the microsecond.
func FuzzText(f *testing.F) {
	f.Add("it's", int64(0), uint64(0), int64(0), 0)
	f.Add("\xff\x00", int64(math.MinInt64), uint64(math.MaxUint64), noon.UnixNano(), 5*3600+1800)
	f.Add("", int64(math.MaxInt64), uint64(7), int64(-1), -12*3600)
	f.Add("a", int64(1), uint64(0), int64(0), -17)
	f.Add("2026-11-23", int64(-1), uint64(1), int64(-999), 59)
	f.Fuzz(func(t *testing.T, text string, number int64, unsigned uint64, nanoseconds int64, offset int) {
		if got, ok := sequence.Text(text); !ok || got != text {
			t.Errorf("Text(%q) = %q, %v", text, got, ok)
		}
		if got, ok := sequence.Text(tenant(text)); !ok || got != text {
			t.Errorf("Text of a named text = %q, %v", got, ok)
		}
		for _, value := range []any{number, &sql.NullInt64{Int64: number, Valid: true}, valuer{value: number}} {
			got, ok := sequence.Text(value)
			if back, err := strconv.ParseInt(got, 10, 64); !ok || err != nil || back != number {
				t.Errorf("Text(%T of %d) = %q, %v", value, number, got, ok)
			}
		}
		got, ok := sequence.Text(unsigned)
		if back, err := strconv.ParseUint(got, 10, 64); !ok || err != nil || back != unsigned {
			t.Errorf("Text(%d) = %q, %v", unsigned, got, ok)
		}
		at := time.Unix(0, nanoseconds).In(time.FixedZone("", offset%(15*3600)))
		for _, value := range []any{at, sql.NullTime{Time: at, Valid: true}} {
			got, ok := sequence.Text(value)
			if _, offset := at.Zone(); -60 < offset && offset < 0 {
				if ok {
					t.Errorf("Text(%s) = %q, which no server reads", at, got)
				}
				continue
			}
			back, err := time.Parse("2006-01-02 15:04:05.999999Z07:00:00", got)
			if !ok || err != nil || back.Sub(at).Abs() >= time.Microsecond || back.Nanosecond()%1000 != 0 {
				t.Errorf("Text(%s) = %q, %v: %s, %v", at, got, ok, back, err)
			}
		}
	})
}
