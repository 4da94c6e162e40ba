package main

import (
	"errors"
	"maps"
	"strconv"
	"strings"
)

// restoreClean drops a table and makes it anew from a dump. Rows that were stored
// after the dump are gone, and rows that are stored before the key is there may
// share an id, with plain GORM too. Whoever restores takes the latter away then.
func (s *shop) restoreClean() error {
	if err := s.fillCleaned(); err != nil {
		return err
	}
	if err := s.dump(s.database, "clean.dump", "-t", cleanedTable); err != nil {
		return err
	}
	before := s.crew.names.Load()
	s.crew.settled.Store(false)
	defer s.crew.settled.Store(true)
	broken := s.restore(s.database, "clean.dump", "--clean", "--if-exists")
	doubled, err := s.doubled()
	if err != nil {
		return err
	}
	if len(doubled) > 0 {
		err = s.psql(s.database, `BEGIN; LOCK cleaned_rows;
			DELETE FROM cleaned_rows a USING cleaned_rows b WHERE a.id = b.id AND a.ctid > b.ctid;
			ALTER TABLE cleaned_rows ADD PRIMARY KEY (id); COMMIT;`)
		broken = nil // it is about the key
	}
	maps.DeleteFunc(doubled, func(name string, _ bool) bool {
		number, err := strconv.ParseInt(strings.TrimPrefix(name, "row"), 10, 64)
		return err != nil || number <= before // it may have been in the dump
	})
	s.journal.cleaned(doubled)
	return errors.Join(broken, err)
}

// fillCleaned makes the cleaned table so large that its restore takes a while.
func (s *shop) fillCleaned() error {
	s.imports++
	rows, err := s.admin.Query("INSERT INTO cleaned_rows (name) SELECT 'filler' || $1::int || '-' || g FROM generate_series(1, 20000) g RETURNING id, name", s.imports)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	var filled []entry
	for rows.Next() {
		e := entry{table: cleanedTable}
		if err := rows.Scan(&e.id, &e.name); err != nil {
			return err
		}
		filled = append(filled, e)
	}
	s.journal.stored("filled", filled, false, false)
	return rows.Err()
}

// doubled are the names of rows of the cleaned table that share their id.
func (s *shop) doubled() (names map[string]bool, err error) {
	rows, err := s.admin.Query("SELECT name FROM cleaned_rows WHERE id IN (SELECT id FROM cleaned_rows GROUP BY id HAVING count(*) > 1)")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	names = map[string]bool{}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names[name] = true
	}
	return names, rows.Err()
}
