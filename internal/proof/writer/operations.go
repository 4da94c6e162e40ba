package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// operation is what somebody does to the database with tools while the writers
// insert. It is done again and again until its turn is over.
type operation struct {
	name string
	do   func(*shop) error
	// once is for what is done once in a turn.
	once bool
	// pooled leaves only the writers that go through PgBouncer.
	pooled bool
	// drifts is false for what leaves the sequences as they are: nothing is to heal.
	drifts bool
	// excuses are the errors that the writers may get, by a part of their text, and why.
	excuses map[string]string
	// cleans lets the writers insert into the table that the operation makes anew.
	cleans bool
}

var operations = []operation{
	{name: "pg_dump", do: (*shop).dumpOnly},
	{name: "pg_restore -t", do: (*shop).restoreTables, drifts: true},
	{name: "pg_restore --data-only", do: (*shop).restoreData, drifts: true},
	{name: "COPY that stays open", do: (*shop).copyAndWait, drifts: true},
	{name: "setval back", do: (*shop).setBack, drifts: true},
	{name: "reindexdb --concurrently", do: (*shop).reindex, drifts: true},
	{name: "PgBouncer RELOAD, PAUSE", do: (*shop).pauseAndReload, drifts: true, excuses: map[string]string{
		"(server_login_retry)": "PAUSE closes a server connection during its login, and PgBouncer reports that to each client that waits for it",
	}},
	{name: "a view in front", do: (*shop).swap, drifts: true, excuses: map[string]string{
		"(SQLSTATE 40P01)": "DROP VIEW has the view and waits for the table, a question the other way round",
	}},
	{name: "pg_restore --clean", do: (*shop).restoreClean, once: true, drifts: true, cleans: true},
	{name: "cut-over", do: (*shop).cutOver, once: true, pooled: true, drifts: true},
}

// copiedTables are those that an import brings rows to, a table before those that
// refer to it.
var copiedTables = []string{ownersTable, petsTable, plainTable, stampedTable, countedTable, viewedTable, swappedTable}

const (
	importRows  = 60
	leastMargin = 50
)

// fill brings new rows to tables of the source database, with ids in front of the
// sequences of the application, and sets its own sequences to older values of
// those. The more often the writers were there before an import, the further in
// front.
func (s *shop) fill(tables ...string) error {
	s.imports++
	var script strings.Builder
	owners := 0
	for _, table := range tables {
		var last int
		if err := s.admin.QueryRow("SELECT last_value FROM " + sequenceOf(table)).Scan(&last); err != nil {
			return err
		}
		columns, values := "id, name", fmt.Sprintf("%d + g, 'import%d-' || g", last+s.margin, s.imports)
		switch table {
		case ownersTable:
			owners = last + s.margin
		case petsTable:
			columns, values = columns+", owner_id", values+fmt.Sprintf(", %d + g", owners)
		}
		fmt.Fprintf(&script, "TRUNCATE %[1]s CASCADE; INSERT INTO %[1]s (%[2]s) SELECT %[3]s FROM generate_series(1, %[4]d) g; SELECT setval('%[5]s', %[6]d);\n",
			table, columns, values, importRows, sequenceOf(table), max(1, last-30))
	}
	_, err := s.source.Exec(script.String())
	return err
}

// imported enters the rows that were brought to tables.
func (s *shop) imported(tables ...string) error {
	for _, table := range tables {
		found, err := s.read(context.Background(), s.source, table)
		if err != nil {
			return err
		}
		for i := range found {
			if table == viewedTable {
				found[i].table = viewTable
			}
		}
		s.journal.stored("imported", found, false, false)
	}
	return nil
}

func (s *shop) dumpOnly() error { return s.dump(s.database, "shop.dump") }

// restoreTables brings the data of a table, or of two that belong together, and
// leaves the sequences.
func (s *shop) restoreTables() error {
	tables := pick([][]string{{ownersTable, petsTable}, {plainTable}, {stampedTable}, {countedTable}, {viewedTable}, {swappedTable}})
	if err := cmp.Or(s.fill(tables...), s.dump(sourceDatabase, "source.dump")); err != nil {
		return err
	}
	arguments := []string{"--data-only", "--single-transaction"}
	for _, table := range tables {
		arguments = append(arguments, "-t", table)
	}
	if err := s.restore(s.database, "source.dump", arguments...); err != nil {
		return err
	}
	return cmp.Or(s.imported(tables...), s.arrive(tables...))
}

// arrive moves the sequences to where the rows of the source database begin, as far as
// the writers would get in a while.
func (s *shop) arrive(tables ...string) error {
	for _, table := range tables {
		var first int
		if err := s.source.QueryRow("SELECT min(id) FROM " + table).Scan(&first); err != nil {
			return err
		}
		_, err := s.admin.Exec(fmt.Sprintf("SELECT setval('%[1]s', greatest(last_value, $1)) FROM %[1]s", sequenceOf(table)), first-1)
		if err != nil {
			return err
		}
	}
	return nil
}

// restoreData brings all data in one transaction, and sets the sequences back.
func (s *shop) restoreData() error {
	if err := s.fill(copiedTables...); err != nil {
		return err
	}
	err := cmp.Or(s.dump(sourceDatabase, "source.dump"), s.restore(s.database, "source.dump", "--data-only", "--single-transaction"))
	if err != nil {
		return err
	}
	return s.imported(copiedTables...)
}

// copyAndWait brings rows to all tables in a transaction that stays open.
func (s *shop) copyAndWait() error {
	if err := s.fill(copiedTables...); err != nil {
		return err
	}
	var script strings.Builder
	script.WriteString("BEGIN;\n")
	for _, table := range copiedTables {
		columns := "id, name"
		if table == petsTable {
			columns += ", owner_id"
		}
		found, err := s.read(context.Background(), s.source, table)
		if err != nil {
			return err
		}
		fmt.Fprintf(&script, "COPY %s (%s) FROM STDIN;\n", table, columns)
		for _, e := range found {
			fmt.Fprintf(&script, "%d\t%s", e.id, e.name)
			if parent, ok := strings.CutPrefix(e.content, "of "); ok {
				script.WriteString("\t" + parent)
			}
			script.WriteByte('\n')
		}
		script.WriteString("\\.\n")
	}
	script.WriteString("SELECT pg_sleep(0.3) \\g /dev/null\nCOMMIT;\n")
	if err := s.psql(s.database, script.String()); err != nil {
		return err
	}
	return s.imported(copiedTables...)
}

func (s *shop) setBack() error { return s.psql(s.database, moveBack(keptTables...)) }

// reindex builds the indexes anew, one after the other, under drift.
func (s *shop) reindex() error {
	if err := s.setBack(); err != nil {
		return err
	}
	arguments := []string{"--concurrently", "-d", s.dsn("postgres", s.database)}
	for _, table := range copiedTables {
		arguments = append(arguments, "-t", table)
	}
	_, err := s.run("", "reindexdb", arguments...)
	return err
}

// pauseAndReload lets PgBouncer read a file with another pool size, and stand still
// for a moment, under drift.
func (s *shop) pauseAndReload() error {
	s.poolSize = 9 - s.poolSize
	if err := s.bouncer.Configure(s.bouncerFile()); err != nil {
		return err
	}
	return cmp.Or(s.setBack(), s.console("RELOAD"), s.setBack(), s.console("PAUSE"), s.setBack(), s.console("RESUME"), s.setBack())
}

// swap puts a view in a table's place, and takes it away again.
func (s *shop) swap() error {
	for _, step := range []string{
		moveBack(swappedTable) + `BEGIN; ALTER TABLE swapped_rows RENAME TO swapped_rows_base;
			CREATE VIEW swapped_rows AS SELECT * FROM swapped_rows_base; GRANT ALL ON swapped_rows TO app; COMMIT;`,
		moveBack(keptTables...) + "SELECT pg_sleep(0.1) \\g /dev/null\n",
		`BEGIN; DROP VIEW swapped_rows; ALTER TABLE swapped_rows_base RENAME TO swapped_rows; COMMIT;`,
	} {
		err := s.psql(s.database, step)
		for tries := 1; overtaken(err) && tries < 20; tries++ {
			err = s.psql(s.database, step)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// cutOver moves the application to another database while PgBouncer stands still.
// The sequences stay where they begin: logical replication does not bring them.
func (s *shop) cutOver() error {
	s.cutOvers++
	next := fmt.Sprintf("shop%d", s.cutOvers)
	if err := cmp.Or(s.psql(sourceDatabase, "CREATE DATABASE "+next), s.console("PAUSE"), s.dump(s.database, "shop.dump")); err != nil {
		return err
	}
	list, err := s.run("", "pg_restore", "-l", "shop.dump")
	if err != nil {
		return err
	}
	var wanted strings.Builder
	for line := range strings.Lines(list) {
		if !strings.Contains(line, "SEQUENCE SET") {
			wanted.WriteString(line)
		}
	}
	if err := os.WriteFile(filepath.Join(s.dir, "shop.list"), []byte(wanted.String()), 0o600); err != nil {
		return err
	}
	if err := s.restore(next, "shop.dump", "-L", "shop.list"); err != nil {
		return err
	}
	s.database = next
	return cmp.Or(s.bouncer.Configure(s.bouncerFile()), s.console("RELOAD"), s.console("RESUME"))
}
