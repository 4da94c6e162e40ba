package herd_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/internal/proof/herd"
)

// account is what must be true of a table after a herd has run.
type account struct {
	t          *testing.T
	place      *pgtest.Place
	old        map[int64]string
	gap        int64
	unwatch    func() (herd.Track, error)
	stopImport func() (int64, error)
}

// keepAccount notes the old rows and watches the sequence from now on.
func keepAccount(t *testing.T, p *pgtest.Place, gap int64, importer herd.Importer) *account {
	t.Helper()
	a := &account{t: t, place: p, gap: gap, old: contents(t, p)}
	var err error
	if a.unwatch, err = herd.Watch(t.Context(), p.DSN, "rows_id_seq"); err != nil {
		t.Fatal(err)
	}
	if importer != "" {
		if a.stopImport, err = herd.Import(t.Context(), p.DSN, importer); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// contents reads the whole table.
func contents(t *testing.T, p *pgtest.Place) map[int64]string {
	t.Helper()
	rows, err := p.SQL.QueryContext(t.Context(), "SELECT id, name FROM rows")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	all := map[int64]string{}
	for rows.Next() {
		var id int64
		var name string
		if err := rows.Scan(&id, &name); err != nil {
			t.Fatal(err)
		}
		all[id] = name
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// settle holds the table against what was acknowledged.
func (a *account) settle(result herd.Result, mode herd.Mode, cache, outrun bool) {
	t := a.t
	t.Helper()
	imported := a.stop()
	a.noneIsLost(result, mode, outrun)
	left := contents(t, a.place)
	take := func(id int64, name, what string) {
		if left[id] != name {
			t.Errorf("%s %d %q is %q in the table", what, id, name, left[id])
		}
		delete(left, id) // who else has the same id finds nothing
	}
	for id, name := range a.old {
		take(id, name, "the old row")
	}
	for worker, rows := range result.Acknowledged {
		last := int64(0)
		for _, row := range rows {
			take(row.ID, row.Name, "the acknowledged row")
			if row.ID <= last && !cache {
				t.Errorf("connection %d got %d after %d: the sequence stepped back", worker, row.ID, last)
			}
			last = row.ID
		}
	}
	for id, name := range left {
		if name != fmt.Sprintf("imported %d", id) {
			t.Errorf("row %d %q is nobody's", id, name)
		}
	}
	if int64(len(left)) != imported {
		t.Errorf("%d imported rows are in the table of %d", len(left), imported)
	}
	a.sequenceIsInFront(len(left) > 0)
	if locks := a.place.Text("SELECT * FROM pg_locks WHERE locktype = 'advisory'"); locks != "" {
		t.Errorf("advisory locks are left:\n%s", locks)
	}
}

// noneIsLost: every insert is acknowledged, or outrun is true and the failure of
// its transaction is reported.
func (a *account) noneIsLost(result herd.Result, mode herd.Mode, outrun bool) {
	t := a.t
	t.Helper()
	if got := result.Rows() + len(result.Errors); got != connections*inserts {
		t.Errorf("%d inserts ended of %d", got, connections*inserts)
	}
	if outrun {
		t.Logf("%d inserts were outrun", len(result.Errors))
		if reported := result.Stats.Failed * int64(mode.PerTransaction()); reported < int64(len(result.Errors)) || result.Stats.Refused != 0 {
			t.Errorf("%d inserts were lost, %+v reported", len(result.Errors), result.Stats)
		}
		return
	}
	if len(result.Errors) > 0 {
		t.Errorf("%d inserts were lost, the first: %s", len(result.Errors), result.Errors[0])
	}
	if s := result.Stats; s.Refused != 0 || s.Failed != 0 {
		t.Errorf("incidents that did not end well: %+v, the first: %s", s, result.Unhealed[0])
	}
}

// stop ends importer and watch, and holds the watch against P3.
func (a *account) stop() (imported int64) {
	t := a.t
	t.Helper()
	if a.stopImport != nil {
		var err error
		if imported, err = a.stopImport(); err != nil {
			t.Fatal(err)
		}
		if imported == 0 {
			t.Error("the importer stored nothing")
		}
	}
	track, err := a.unwatch()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("watched: %+v, imported %d", track, imported)
	if track.Back > 0 {
		t.Errorf("the sequence stepped back %d times, by %d at most", track.Back, track.Furthest)
	}
	if ids := track.Last - max(a.gap, track.First); ids > 1<<30 {
		t.Errorf("%d ids were used up: the sequence runs away", ids)
	}
	if track.Samples < 100 || track.Last <= track.First+connections*inserts/2 {
		t.Errorf("the sequence was not watched: %+v", track)
	}
	return imported
}

// sequenceIsInFront: the next insert collides with nothing, unless an importer
// had the last word.
func (a *account) sequenceIsInFront(imported bool) {
	a.t.Helper()
	query := "SELECT count(*) FROM rows, rows_id_seq s WHERE id > s.last_value"
	if imported {
		query += " AND name NOT LIKE 'imported %'"
	}
	if n := a.place.Int(query); n != 0 {
		a.t.Errorf("%d rows lie in front of the sequence", n)
	}
}

// ended describes a child that did not end well.
func ended(err error, stderr string) error {
	return fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr))
}
