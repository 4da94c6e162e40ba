package hostile_test

// stand is what stands on the table items, into which all statements of the matrix
// insert.
type stand struct {
	name string
	// make creates items itself; empty for the ordinary table.
	make string
	// ddl is put upon it.
	ddl string
	// view is true where the rows are in base (key, title, code, owner_id, stamp),
	// and items is a view of it.
	view bool
	// codes is true where codes are unique.
	codes bool
	// role is true where the program runs as a role without rights of its own.
	role bool
	// row is true for a trigger BEFORE INSERT FOR EACH ROW, or the like: the
	// statement cannot be changed, and no row that comes back is no proof.
	row bool
	// update is true for a statement trigger on UPDATE: a DO UPDATE must stay.
	update bool
	// instead is true for an INSTEAD OF trigger.
	instead bool
}

const (
	itemsTable = `CREATE TABLE items (id bigserial PRIMARY KEY, name text, code text, owner_id bigint REFERENCES parents, stamp text);`
	baseTable  = `CREATE TABLE base (key bigserial PRIMARY KEY, title text, code text, owner_id bigint REFERENCES parents, stamp text);`
	partitions = `CREATE TABLE items (id bigserial PRIMARY KEY, name text, code text, owner_id bigint REFERENCES parents, stamp text) PARTITION BY RANGE (id);
		CREATE TABLE items_low PARTITION OF items FOR VALUES FROM (MINVALUE) TO (25); CREATE TABLE items_high PARTITION OF items FOR VALUES FROM (25) TO (MAXVALUE);`

	// Trigger functions. What they note says nothing of ids, which depend on the
	// sequence.
	functions = `
CREATE FUNCTION note_row() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN
	INSERT INTO $S.log VALUES (TG_NAME || '' '' || TG_OP || '' '' || NEW.name); RETURN NULL; END';
CREATE FUNCTION note_statement() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN
	INSERT INTO $S.log VALUES (TG_NAME || '' '' || TG_OP); RETURN NULL; END';
CREATE FUNCTION note_fresh() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN
	INSERT INTO $S.log SELECT TG_NAME || '' '' || TG_OP || '' of '' || count(*) FROM fresh; RETURN NULL; END';
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN
	NEW.stamp := TG_NAME || '' '' || TG_OP; RETURN NEW; END';
CREATE FUNCTION stamp_and_note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN
	INSERT INTO $S.log VALUES (TG_NAME || '' '' || TG_OP || '' '' || NEW.name); NEW.stamp := TG_OP; RETURN NEW; END';
CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN
	IF current_setting(''hostile.reset'', true) = ''on'' THEN RETURN NEW; END IF; RAISE ''must not fire''; END';
CREATE FUNCTION into_base() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN
	INSERT INTO $S.base (key, title, code, owner_id) VALUES (coalesce(NEW.id, nextval(''$S.base_key_seq'')), NEW.name, NEW.code, NEW.owner_id) RETURNING key INTO NEW.id;
	RETURN NEW; END';`

	viewOfBase = `SELECT key AS id, title AS name, code, owner_id, stamp FROM base`
)

var stands = []stand{
	{name: "nothing"},
	{name: "AFTER ROW audit trigger", ddl: "CREATE TRIGGER audit AFTER INSERT OR UPDATE ON items FOR EACH ROW EXECUTE FUNCTION note_row()"},
	{name: "disabled trigger", ddl: "CREATE TRIGGER off BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION spoil(); ALTER TABLE items DISABLE TRIGGER off"},
	{name: "REPLICA trigger", ddl: "CREATE TRIGGER off BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION spoil(); ALTER TABLE items ENABLE REPLICA TRIGGER off"},
	{name: "BEFORE INSERT row trigger", row: true, ddl: "CREATE TRIGGER stamp BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION stamp()"},
	{name: "BEFORE INSERT OR UPDATE row trigger that notes", row: true, ddl: "CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON items FOR EACH ROW EXECUTE FUNCTION stamp_and_note()"},
	{name: "AFTER statement trigger on INSERT", ddl: "CREATE TRIGGER count AFTER INSERT ON items FOR EACH STATEMENT EXECUTE FUNCTION note_statement()"},
	{name: "BEFORE statement trigger on INSERT", ddl: "CREATE TRIGGER count BEFORE INSERT ON items FOR EACH STATEMENT EXECUTE FUNCTION note_statement()"},
	{name: "AFTER statement trigger on UPDATE", update: true, ddl: "CREATE TRIGGER count AFTER UPDATE ON items FOR EACH STATEMENT EXECUTE FUNCTION note_statement()"},
	{name: "transition tables", update: true, ddl: `CREATE TRIGGER fresh AFTER INSERT ON items REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION note_fresh();
		CREATE TRIGGER changed AFTER UPDATE ON items REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION note_fresh()`},
	{name: "WHEN clause", row: true, ddl: `CREATE TRIGGER ones BEFORE INSERT ON items FOR EACH ROW WHEN (NEW.name LIKE '%1') EXECUTE FUNCTION stamp();
		CREATE TRIGGER tens AFTER INSERT ON items FOR EACH ROW WHEN (NEW.name LIKE '%0') EXECUTE FUNCTION note_row()`},
	{name: "deferred constraint trigger", ddl: "CREATE CONSTRAINT TRIGGER late AFTER INSERT OR UPDATE ON items DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note_row()"},
	{name: "view with renamed columns", view: true, make: baseTable + "CREATE VIEW items AS " + viewOfBase},
	{name: "view two deep", view: true, make: baseTable + "CREATE VIEW inner_items AS SELECT title AS t, key AS k, code, owner_id, stamp FROM base; CREATE VIEW items AS SELECT k AS id, t AS name, code, owner_id, stamp FROM inner_items"},
	{name: "security barrier view", view: true, make: baseTable + "CREATE VIEW items WITH (security_barrier) AS " + viewOfBase + " WHERE key > 0"},
	{name: "view WITH CHECK OPTION", view: true, make: baseTable + "CREATE VIEW items AS " + viewOfBase + " WHERE title NOT LIKE 'hidden%' WITH CHECK OPTION"},
	{name: "view over a table with a trigger", view: true, row: true, make: baseTable + "CREATE VIEW items AS " + viewOfBase, ddl: "CREATE TRIGGER stamp BEFORE INSERT ON base FOR EACH ROW EXECUTE FUNCTION stamp()"},
	{name: "view over partitions", view: true, make: `CREATE TABLE base (key bigserial PRIMARY KEY, title text, code text, owner_id bigint REFERENCES parents, stamp text) PARTITION BY RANGE (key);
		CREATE TABLE base_low PARTITION OF base FOR VALUES FROM (MINVALUE) TO (25); CREATE TABLE base_high PARTITION OF base FOR VALUES FROM (25) TO (MAXVALUE);
		CREATE VIEW items AS ` + viewOfBase},
	{name: "INSTEAD OF trigger", view: true, row: true, instead: true, make: baseTable + "CREATE VIEW items AS " + viewOfBase, ddl: "CREATE TRIGGER instead INSTEAD OF INSERT ON items FOR EACH ROW EXECUTE FUNCTION into_base()"},
	{name: "partitioned", make: partitions},
	{name: "partition with a trigger", row: true, make: partitions, ddl: "CREATE TRIGGER stamp BEFORE INSERT ON items_high FOR EACH ROW EXECUTE FUNCTION stamp()"},
	{name: "row-level security", role: true, row: true, ddl: `ALTER TABLE items ENABLE ROW LEVEL SECURITY;
		CREATE POLICY named ON items USING (name IS NOT NULL) WITH CHECK (name IS NOT NULL)`},
	{name: "another unique index", codes: true, ddl: "CREATE UNIQUE INDEX codes ON items (code)"},
	{name: "exclusion constraint", codes: true, ddl: "ALTER TABLE items ADD CONSTRAINT codes EXCLUDE USING btree (code WITH =)"},
	{name: "another unique index and an audit trigger", codes: true, ddl: "CREATE UNIQUE INDEX codes ON items (code); CREATE TRIGGER audit AFTER INSERT ON items FOR EACH ROW EXECUTE FUNCTION note_row()"},
}

// columns are the names of id and name in the table that holds the rows.
func (s stand) columns() (table, id, name string) {
	if s.view {
		return "base", "key", "title"
	}
	return "items", "id", "name"
}
