package pipeline_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/internal/pipeline"
)

// ways are how a benchmark sends an INSERT in a transaction.
var ways = []struct {
	name string
	send func(b *testing.B, tx *sql.Tx, text string, args []any)
}{
	{"plain", func(b *testing.B, tx *sql.Tx, text string, args []any) { read(b, tx, text, args) }},
	{"three", func(b *testing.B, tx *sql.Tx, text string, args []any) {
		_, err := tx.ExecContext(b.Context(), "SAVEPOINT seqheal")
		read(b, tx, text, args)
		if _, err2 := tx.ExecContext(b.Context(), "RELEASE SAVEPOINT seqheal"); err != nil || err2 != nil {
			b.Fatal(err, err2)
		}
	}},
	{"pipeline", func(b *testing.B, tx *sql.Tx, text string, args []any) {
		read(b, pipeline.New(tx, inSavepoint).ConnPool(), text, args)
	}},
}

func read(b *testing.B, pool gorm.ConnPool, text string, args []any) {
	b.Helper()
	rows, err := pool.QueryContext(b.Context(), text, args...)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkInsert sends batches in a transaction of their own: plainly, in a savepoint
// that costs three round trips, and in one that costs one.
func BenchmarkInsert(b *testing.B) {
	p := pgtest.New(b)
	p.Exec("CREATE UNLOGGED TABLE $S.e (id bigserial PRIMARY KEY, name text, email text, n integer)")
	db := open(b, p, nil)
	for _, rows := range []int{1, 10, 100} {
		text, args := batch(rows)
		for _, way := range ways {
			b.Run(fmt.Sprintf("rows=%d/%s", rows, way.name), func(b *testing.B) {
				p.Exec("TRUNCATE $S.e")
				b.ReportAllocs()
				for b.Loop() {
					inTransaction(b, db, func(tx *sql.Tx) { way.send(b, tx, text, args) })
				}
			})
		}
	}
}

func inTransaction(b *testing.B, db *sql.DB, send func(*sql.Tx)) {
	b.Helper()
	tx, err := db.BeginTx(b.Context(), nil)
	if err != nil {
		b.Fatal(err)
	}
	send(tx)
	if err := tx.Commit(); err != nil {
		b.Fatal(err)
	}
}

func batch(rows int) (text string, args []any) {
	var values []string
	for i := range rows {
		values = append(values, fmt.Sprintf("($%d,$%d,$%d)", 3*i+1, 3*i+2, 3*i+3))
		args = append(args, "name", "user@example.com", i)
	}
	return "INSERT INTO e (name, email, n) VALUES " + strings.Join(values, ",") + " RETURNING id", args
}
