// Herds: many connections, in one process and in several, insert into one table
// whose sequence is behind. They keep P1 (no insert is lost), P3 (the sequence
// never steps back), P4 (each row once, with its content) and P9 (no lock is left).
//
// SEQHEAL_LONG=1 runs every combination in full.
package herd_test

import (
	"database/sql"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/internal/proof/herd"
)

var long = os.Getenv("SEQHEAL_LONG") != ""

const (
	connections = 64
	inserts     = 50
	processes   = 4
	billion     = 1_000_000_000
	// mostHealed is more than have been seen to say that they moved a sequence which
	// is moved once: also an insert whose own draw went past the last row says so.
	mostHealed = 16
)

// table is the herd's table; the sequence stands at its start.
const table = `CREATE TABLE rows (id bigserial PRIMARY KEY, name text NOT NULL)`

// behind fills the table so that the sequence is $1 behind: every id up to there,
// of a long way the first and the last thousand.
const behind = `
INSERT INTO rows (id, name)
SELECT g, 'old ' || g FROM generate_series(1::bigint, least($1::bigint, 100000)) g
UNION ALL
SELECT g, 'old ' || g FROM generate_series($1::bigint - 1000, $1::bigint) g WHERE $1::bigint > 100000`

// herds are the tests. Each runs for every gap, every mode, and with one process
// and with several, as far as short does not narrow it.
var herds = []struct {
	name string
	// table makes table and sequence; $S is the schema.
	table string
	// prepare runs after the old rows are there.
	prepare   func(*testing.T, *pgtest.Place)
	gaps      []int64
	usageOnly bool
	shape     herd.Shape
	importer  herd.Importer
	// outrun allows inserts to fail, each reported, because the importer keeps
	// taking the ids that come next (WithMaxRounds).
	outrun bool
	cache  bool
	// healed is the most incidents that may say that they moved the sequence; 0 is
	// any number, where the sequence falls behind again and again.
	healed int64
	// timeout is a heal's time limit, 0 for the default.
	timeout time.Duration
	// short is what runs without SEQHEAL_LONG.
	short func(herdCase) bool
}{
	{name: "drifted", table: table, gaps: []int64{200, 1_000, 100_000, billion}, healed: mostHealed,
		short: func(c herdCase) bool { return c.processes == 1 || c.gap == 1_000 }},
	{name: "CACHE 20", table: table + `; ALTER SEQUENCE rows_id_seq CACHE 20`, gaps: []int64{1_000, billion}, cache: true, healed: mostHealed,
		short: func(c herdCase) bool {
			return c.gap == billion && (c.mode == herd.CallersTransaction) == (c.processes == 1)
		}},
	{name: "1,000 partitions", table: partitions(1_000), gaps: []int64{1_000, billion}, healed: mostHealed,
		timeout: 20 * time.Second, // two cores may need more than five to plan for them in 64 sessions
		short:   func(c herdCase) bool { return c.gap == 1_000 && c.mode == herd.CallersTransaction && c.processes == 1 }},
	{name: "USAGE only", table: table, gaps: []int64{1_000, 100_000}, usageOnly: true, healed: mostHealed,
		short: func(c herdCase) bool { return c.gap == 100_000 && (c.mode == herd.NoTransaction) == (c.processes > 1) }},
	{name: "Save of slices", table: table, gaps: []int64{200, 1_000}, shape: herd.SaveSlice, healed: mostHealed,
		short: func(c herdCase) bool {
			return c.gap == 1_000 && (c.mode == herd.CallersTransaction) == (c.processes > 1)
		}},
	{name: "DoNothing", table: table, gaps: []int64{200, 1_000}, shape: herd.DoNothing, healed: mostHealed,
		short: func(c herdCase) bool { return c.gap == 1_000 && (c.mode == herd.NoTransaction) == (c.processes > 1) }},
	{name: "beside an importer", table: table, gaps: []int64{200, billion}, importer: herd.CountsByItself,
		short: func(c herdCase) bool { return c.gap == 200 && (c.mode != herd.GormsTransaction || c.processes == 1) }},
	{name: "beside a writer of max + 1", table: table, gaps: []int64{200}, importer: herd.TakesMaxPlusOne, outrun: true,
		short: func(c herdCase) bool { return c.mode == herd.NoTransaction && c.processes == 1 }},
	{name: "beside a follower of the sequence", table: table, gaps: []int64{200}, importer: herd.FollowsTheSequence, outrun: true,
		short: func(c herdCase) bool { return c.mode == herd.CallersTransaction && c.processes > 1 }},
	{name: "dead entries at the index's end", table: table + ` WITH (autovacuum_enabled = off)`, gaps: []int64{1_000}, prepare: deadEntries, healed: mostHealed,
		short: func(c herdCase) bool { return c.mode != herd.CallersTransaction && c.processes == 1 }},
}

// partitions makes a table whose maximum takes a look into every partition.
func partitions(count int) string {
	return fmt.Sprintf(`CREATE TABLE rows (id bigserial PRIMARY KEY, name text NOT NULL) PARTITION BY HASH (id);
		DO $$ BEGIN FOR i IN 0..%d LOOP
			EXECUTE format('CREATE TABLE rows_%%s PARTITION OF rows FOR VALUES WITH (MODULUS %[2]d, REMAINDER %%s)', i, i);
		END LOOP; END $$`, count-1, count)
}

// deadEntries leaves the entries of deleted rows behind the last one, all of
// which every look at the furthest id has to pass: a snapshot from before keeps
// the first look from marking them as dead for ever.
func deadEntries(t *testing.T, p *pgtest.Place) {
	t.Helper()
	dead := 300_000
	if long {
		dead = 3_000_000
	}
	p.Exec(`INSERT INTO rows (id, name) SELECT g, 'deleted' FROM generate_series(1000001, 1000000 + $1::int) g`, dead)
	snapshot, err := p.SQL.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = snapshot.Rollback() })
	var n int
	if err := snapshot.QueryRow("SELECT count(*) FROM rows WHERE id > 1000000").Scan(&n); err != nil || n != dead {
		t.Fatal(n, err)
	}
	p.Exec("DELETE FROM rows WHERE id > 1000000")
}

// herdCase is one combination.
type herdCase struct {
	gap       int64
	mode      herd.Mode
	processes int
}

func TestNoInsertOfAHerdIsLost(t *testing.T) {
	for _, test := range herds {
		for _, gap := range test.gaps {
			for _, mode := range herd.Modes {
				for _, count := range []int{1, processes} {
					c := herdCase{gap, mode, count}
					if !long && !test.short(c) {
						continue
					}
					t.Run(fmt.Sprintf("%s/%d behind, %s, %d process(es)", test.name, gap, mode, count), func(t *testing.T) {
						p := pgtest.New(t)
						p.Exec(test.table)
						p.Exec(behind, gap)
						if test.prepare != nil {
							test.prepare(t, p)
						}
						p.Exec("ANALYZE rows")
						dsn := p.DSN
						if test.usageOnly {
							dsn = usageOnly(p)
						}
						account := keepAccount(t, p, gap, test.importer)
						result := run(t, dsn, mode, test.shape, count, test.timeout)
						account.settle(result, mode, test.cache, test.outrun)
						if test.healed > 0 && (result.Stats.Healed < 1 || result.Stats.Healed > test.healed) {
							t.Errorf("%d incidents say that they moved the sequence, asked 1 to %d: %+v", result.Stats.Healed, test.healed, result.Stats)
						}
					})
				}
			}
		}
	}
}

// usageOnly is the connection string of a role that may draw from the sequence
// and never set it.
func usageOnly(p *pgtest.Place) string {
	role := p.Role()
	p.Exec("GRANT SELECT, INSERT ON rows TO " + role + "; GRANT USAGE ON SEQUENCE rows_id_seq TO " + role)
	return p.DSNFor(map[string]string{"user": role})
}
