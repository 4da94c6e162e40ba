package catalog_test

import (
	"testing"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgtest"
)

// BenchmarkRead is the cost of reading a table on one connection, in a transaction as the
// plugin does.
func BenchmarkRead(b *testing.B) {
	p := pgtest.New(b)
	p.Exec(triggerFunction + `
		CREATE TABLE owners (id bigserial PRIMARY KEY);
		CREATE TABLE users (id bigserial PRIMARY KEY, created_at timestamptz DEFAULT now(), updated_at timestamptz, deleted_at timestamptz, name text,
			email text UNIQUE, age int DEFAULT 3, owner_id bigint REFERENCES owners, a text, b text, c text);
		CREATE INDEX ON users (deleted_at); CREATE INDEX ON users (owner_id);
		CREATE TRIGGER stamp BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION f();
		CREATE VIEW members AS SELECT * FROM users;
		CREATE DOMAIN tenant AS text;
		CREATE TABLE tenants (id bigserial, tenant tenant, PRIMARY KEY (tenant, id));
		CREATE TABLE entries (id bigserial, at int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
		DO 'BEGIN FOR i IN 1..100 LOOP EXECUTE format(''CREATE TABLE entries_%s PARTITION OF entries FOR VALUES FROM (%s) TO (%s)'', i, i, i + 1); END LOOP; END'`)
	for _, table := range []string{"users", "members", "tenants", "entries"} {
		b.Run(table, func(b *testing.B) {
			tx, err := p.SQL.Begin()
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = tx.Rollback() }()
			c := conn.InTransaction(p.SQL, tx)
			for b.Loop() {
				if _, err := catalog.Read(b.Context(), c, catalog.Name{Table: table}, catalog.Name{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
