package main

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"gorm.io/gorm"
)

// The tables differ in what the plugin does with them: the conflict guard; the
// savepoint guard, for a trigger, partitions or a view; cached values; a name that stands
// for two tables.
const (
	plainTable   = "plain_rows"
	cachedTable  = "cached_rows"
	partedTable  = "parted_rows"
	triggerTable = "trigger_rows"
	viewTable    = "shown_rows" // a view of shown_base
	// tenantTable is called plain_rows as well, under another search_path.
	tenantTable = "tenant.plain_rows"
	ownersTable = "owners"
	petsTable   = "pets"
)

// tables are all of them; their contents are told by one text.
var tables = []string{plainTable, cachedTable, partedTable, triggerTable, viewTable, tenantTable, ownersTable, petsTable}

func createTables(ctx context.Context, admin *sql.DB) error {
	_, err := admin.ExecContext(ctx, `
		CREATE TABLE plain_rows (id bigserial PRIMARY KEY, name text NOT NULL);
		CREATE TABLE cached_rows (id bigserial PRIMARY KEY, name text NOT NULL);
		ALTER SEQUENCE cached_rows_id_seq CACHE 20;
		CREATE TABLE parted_rows (id bigserial PRIMARY KEY, name text NOT NULL) PARTITION BY HASH (id);
		CREATE TABLE parted_rows_0 PARTITION OF parted_rows FOR VALUES WITH (MODULUS 2, REMAINDER 0);
		CREATE TABLE parted_rows_1 PARTITION OF parted_rows FOR VALUES WITH (MODULUS 2, REMAINDER 1);
		CREATE TABLE trigger_rows (id bigserial PRIMARY KEY, name text NOT NULL);
		CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
		CREATE TRIGGER t AFTER INSERT ON trigger_rows FOR EACH ROW EXECUTE FUNCTION nothing();
		CREATE SEQUENCE shown_rows_id_seq;
		CREATE TABLE shown_base (id bigint DEFAULT nextval('shown_rows_id_seq') PRIMARY KEY, name text NOT NULL);
		ALTER SEQUENCE shown_rows_id_seq OWNED BY shown_base.id;
		CREATE VIEW shown_rows AS SELECT id, name FROM shown_base;
		CREATE SCHEMA tenant;
		CREATE TABLE tenant.plain_rows (id bigserial PRIMARY KEY, name text NOT NULL);
		CREATE TABLE owners (id bigserial PRIMARY KEY, name text NOT NULL);
		CREATE TABLE pets (id bigserial PRIMARY KEY, name text NOT NULL, owner_id bigint NOT NULL)`)
	return err
}

// contentOf selects the text that tells a row's content.
func contentOf(table string) string {
	if table == petsTable {
		return "name || ' of ' || owner_id"
	}
	return "name"
}

// row is a row of the tables but pets.
type row struct {
	ID   int64
	Name string
}

type owner struct {
	ID   int64
	Name string
	Pets []pet
}

type pet struct {
	ID      int64
	Name    string
	OwnerID int64
}

func (p pet) content() string { return fmt.Sprintf("%s of %d", p.Name, p.OwnerID) }

// asTenant does something under the search_path of the tenant.
func asTenant(do func(*gorm.DB) error) func(*gorm.DB) error {
	return func(tx *gorm.DB) error {
		if err := tx.Exec("SET LOCAL search_path = tenant").Error; err != nil {
			return err
		}
		return do(tx)
	}
}

// named is what programs call a table.
func named(table string) string { return strings.TrimPrefix(table, "tenant.") }
