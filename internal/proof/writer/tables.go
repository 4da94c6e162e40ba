package main

import "fmt"

// The tables differ in what stands on them.
const (
	plainTable   = "plain_rows"
	stampedTable = "stamped_rows" // a BEFORE row trigger that sets a column
	countedTable = "counted_rows" // a statement trigger that writes to another table
	viewTable    = "noted_rows"   // a view, the only name that the writers know
	viewedTable  = "noted_rows_base"
	swappedTable = "swapped_rows" // a view takes its place for a while
	ownersTable  = "owners"       // an audit trigger
	petsTable    = "pets"         // a foreign key, and an audit trigger
	cleanedTable = "cleaned_rows" // dropped and made again by pg_restore --clean
)

// flatTables take rows of an id and a name.
var flatTables = []string{plainTable, stampedTable, countedTable, viewTable, swappedTable}

// keptTables hold what is acknowledged for good.
var keptTables = append([]string{ownersTable, petsTable}, flatTables...)

// createTables makes the tables without what stands on them.
const createTables = `
	CREATE TABLE plain_rows (id bigserial PRIMARY KEY, name text NOT NULL);
	CREATE TABLE stamped_rows (id bigserial PRIMARY KEY, name text NOT NULL, changed_at timestamptz);
	CREATE TABLE counted_rows (id bigserial PRIMARY KEY, name text NOT NULL);
	CREATE TABLE noted_rows_base (id bigserial PRIMARY KEY, name text NOT NULL);
	CREATE VIEW noted_rows AS SELECT id, name FROM noted_rows_base;
	CREATE TABLE swapped_rows (id bigserial PRIMARY KEY, name text NOT NULL);
	CREATE TABLE owners (id bigserial PRIMARY KEY, name text NOT NULL);
	CREATE TABLE pets (id bigserial PRIMARY KEY, name text NOT NULL, owner_id bigint NOT NULL REFERENCES owners);
	CREATE TABLE cleaned_rows (id bigserial PRIMARY KEY, name text NOT NULL);`

// createTriggers puts on the tables what writes to tables of its own.
const createTriggers = `
	CREATE TABLE audit (of text NOT NULL, row_id bigint NOT NULL);
	CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN INSERT INTO public.audit VALUES (TG_TABLE_NAME, NEW.id); RETURN NULL; END';
	CREATE TRIGGER audit AFTER INSERT ON owners FOR EACH ROW EXECUTE FUNCTION audit();
	CREATE TRIGGER audit AFTER INSERT ON pets FOR EACH ROW EXECUTE FUNCTION audit();
	CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN NEW.changed_at := now(); RETURN NEW; END';
	CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON stamped_rows FOR EACH ROW EXECUTE FUNCTION stamp();
	CREATE TABLE statements (of text NOT NULL);
	CREATE FUNCTION count_statement() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN INSERT INTO public.statements VALUES (TG_TABLE_NAME); RETURN NULL; END';
	CREATE TRIGGER count AFTER INSERT ON counted_rows FOR EACH STATEMENT EXECUTE FUNCTION count_statement();
	ALTER TABLE cleaned_rows OWNER TO app;
	GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
	GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app`

// storedIn is the table in which rows of a name's are stored.
func storedIn(table string) string {
	if table == viewTable {
		return viewedTable
	}
	return table
}

func sequenceOf(table string) string { return storedIn(table) + "_id_seq" }

// contentOf selects what is to be found of a row beside its id and its name.
func contentOf(table string) string {
	if table == petsTable {
		return "'of ' || owner_id"
	}
	return "''"
}

// row is a row of the flat tables.
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
	Owner   *owner
}

func (p pet) content() string { return fmt.Sprintf("of %d", p.OwnerID) }
