package compat

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"testing"

	pgx5 "github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/lib/pq"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
)

// preparing is a driver whose connections have no ExecContext, so that database/sql prepares what
// it sends, and which takes one statement at a time.
type preparing struct{ traced }

func (p preparing) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := p.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return preparingConn{c.(beneath)}, nil
}

type beneath interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
}

type preparingConn struct{ beneath }

func insertsAndUpserts(db *gorm.DB, name string) error {
	one, two := account{Email: name, Name: name}, newAccounts(name, 2)
	mixed := []account{{ID: 5, Email: name + " five", Name: name}, {Email: name + " new", Name: name}}
	nothing := []account{{Email: name + " a", Name: name}, {Email: name + " b", Name: name}}
	for _, into := range []any{&one, &two} {
		if err := db.Create(into).Error; err != nil {
			return err
		}
	}
	if err := db.Save(&mixed).Error; err != nil {
		return err
	}
	return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&nothing).Error
}

// A healthy program works through a driver that takes one statement at a time.
func TestDriverThatPrepares(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"pgx", "pq"} {
		inModes(t, func(t *testing.T, m mode) {
			p := pgtest.New(t)
			p.Exec(drifted + "; SELECT setval('accounts_id_seq', 20)")
			config, err := pgx5.ParseConfig(p.DSN)
			if err != nil {
				t.Fatal(err)
			}
			var connector driver.Connector = stdlib.GetConnector(*config)
			if name == "pq" {
				if connector, err = pq.NewConnector(p.DSN); err != nil {
					t.Fatal(err)
				}
			}
			var seen incidents
			db := open(t, postgres.New(postgres.Config{Conn: sql.OpenDB(preparing{traced{connector}})}), m.config, seen.plugin())
			if err := m.within(db, func(tx *gorm.DB) error { return insertsAndUpserts(tx, "new") }); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if n := p.Int("SELECT count(*) FROM accounts WHERE name LIKE 'new%'"); n != 7 || len(seen.list()) > 0 {
				t.Errorf("%s: %d rows, incidents %v", name, n, seen.list())
			}
		})
	}
}

// promoting says that its driver is pgx's, because it promotes the connector's method.
type promoting struct{ traced }

func (p promoting) Driver() driver.Driver { return p.Connector.Driver() }

// None of pgx's options arrive there.
func TestWrappedConnectorWhoseDriverIsPgx(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode) {
		p := pgtest.New(t)
		p.Exec(drifted)
		config, err := pgx5.ParseConfig(p.DSN)
		if err != nil {
			t.Fatal(err)
		}
		var seen incidents
		db := open(t, postgres.New(postgres.Config{Conn: sql.OpenDB(promoting{traced{stdlib.GetConnector(*config)}})}), m.config, seen.plugin())
		if err := m.within(db, func(tx *gorm.DB) error { return insertsAndUpserts(tx, "new") }); err != nil {
			t.Error(err)
		}
		if n, old := p.Int("SELECT count(*) FROM accounts WHERE name LIKE 'new%'"), p.Int("SELECT count(*) FROM accounts WHERE name LIKE 'old%' AND id <> 5"); n != 7 || old != 19 {
			t.Errorf("%d new rows, %d old ones; incidents %v", n, old, seen.list())
		}
	})
}
