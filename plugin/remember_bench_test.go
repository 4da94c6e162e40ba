package plugin_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/plugin"
)

// answering is a driver without a server: it answers each INSERT with the next ids.
type answering struct{ next int64 }

func (a *answering) Connect(context.Context) (driver.Conn, error) { return a, nil }
func (a *answering) Driver() driver.Driver                        { return nil }
func (a *answering) Prepare(string) (driver.Stmt, error)          { return nil, driver.ErrSkip }
func (a *answering) Close() error                                 { return nil }
func (a *answering) Begin() (driver.Tx, error)                    { return nil, driver.ErrSkip }

func (a *answering) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	a.next++
	return &oneID{a.next}, nil
}

func (a *answering) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	return driver.RowsAffected(1), nil
}

type oneID struct{ id int64 }

func (r *oneID) Columns() []string { return []string{"id"} }
func (r *oneID) Close() error      { return nil }
func (r *oneID) Next(into []driver.Value) error {
	if r.id == 0 {
		return io.EOF
	}
	into[0], r.id = r.id, 0
	return nil
}

// BenchmarkRemember is what an insert costs the program itself, without a server: where its
// id is drawn, where it is named, and for a batch that names its ids.
func BenchmarkRemember(b *testing.B) {
	for _, with := range []struct {
		name    string
		plugins []gorm.Plugin
	}{{"plain", nil}, {"seqheal", []gorm.Plugin{plugin.New()}}} {
		pool := sql.OpenDB(&answering{})
		b.Cleanup(func() { _ = pool.Close() })
		db, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), &gorm.Config{Logger: logger.Discard, SkipDefaultTransaction: true})
		if err != nil {
			b.Fatal(err)
		}
		for _, p := range with.plugins {
			if err := db.Use(p); err != nil {
				b.Fatal(err)
			}
		}
		for name, rows := range map[string]func() any{
			"an id that is drawn": func() any { m := newMember(); return &m },
			"an id that is named": func() any {
				m := newMember()
				m.ID = 7
				return &m
			},
			"1,000 ids that are named": func() any {
				all := make([]member, 1_000)
				for i := range all {
					all[i] = newMember()
					all[i].ID = int64(i + 1)
				}
				return &all
			},
		} {
			b.Run(with.name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := db.Create(rows()).Error; err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
