package plugin_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// only is the one finding of an audit of the place.
func only(t *testing.T, p *pgtest.Place, options ...plugin.AuditOption) plugin.Finding {
	t.Helper()
	findings, err := plugin.Audit(t.Context(), p.Open(nil), append(options, plugin.InSchemas(p.Schema))...)
	if err != nil || len(findings) == 0 {
		t.Fatalf("%v: %v", err, findings)
	}
	for _, f := range findings {
		if f.Table == "t" {
			return f
		}
	}
	t.Fatalf("no table t in %v", findings)
	return plugin.Finding{}
}

// A column ends where its sequence or its own type does, whichever comes first.
func TestAnAuditTellsHowManyValuesAreLeft(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, make       string
		limit, remaining int64
		byColumn         bool
	}{
		{"serial", `CREATE TABLE t (id serial PRIMARY KEY); SELECT setval('t_id_seq', 2147000000)`, math.MaxInt32, 483_647, false},
		{"a fresh bigserial", `CREATE TABLE t (id bigserial PRIMARY KEY)`, math.MaxInt64, math.MaxInt64, false},
		{"an int4 column of an int8 sequence", `CREATE SEQUENCE s; CREATE TABLE t (id int PRIMARY KEY DEFAULT nextval('s')); SELECT setval('s', 2147483640)`, math.MaxInt32, 7, true},
		{"an int8 column of an int4 sequence", `CREATE SEQUENCE s AS int; CREATE TABLE t (id bigint PRIMARY KEY DEFAULT nextval('s')); SELECT setval('s', 2147483640)`, math.MaxInt32, 7, false},
		{"MAXVALUE", `CREATE TABLE t (id bigserial PRIMARY KEY); ALTER SEQUENCE t_id_seq MAXVALUE 100; SELECT setval('t_id_seq', 97)`, 100, 3, false},
		{"an increment", `CREATE TABLE t (id serial PRIMARY KEY); ALTER SEQUENCE t_id_seq INCREMENT 10 MAXVALUE 100; SELECT setval('t_id_seq', 75)`, 100, 2, false},
		{"descending", `CREATE TABLE t (id serial PRIMARY KEY); ALTER SEQUENCE t_id_seq INCREMENT -1 MINVALUE -100 MAXVALUE -1 START -1 RESTART; SELECT setval('t_id_seq', -90)`, -100, 10, false},
		{"descending, the column's end", `CREATE SEQUENCE s INCREMENT -1; CREATE TABLE t (id smallint PRIMARY KEY DEFAULT nextval('s')); SELECT setval('s', -32760)`, math.MinInt16, 8, true},
		{"at its end", `CREATE TABLE t (id smallserial PRIMARY KEY); SELECT setval('t_id_seq', 32767)`, math.MaxInt16, 0, false},
		{"numeric", `CREATE SEQUENCE s; CREATE TABLE t (id numeric(30,0) PRIMARY KEY DEFAULT nextval('s'))`, math.MaxInt64, math.MaxInt64, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(c.make)
			if f := only(t, p); f.Limit != c.limit || f.Remaining != c.remaining || f.LimitedByColumn != c.byColumn {
				t.Errorf("limit %d, %d left, by the column %v: %+v", f.Limit, f.Remaining, f.LimitedByColumn, f)
			}
		})
	}
}

// Foreign keys of a narrower type end before the key that they point to.
func TestAnAuditTellsOfNarrowerForeignKeys(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, make, want, state string }{
		{"int4 to bigint", `CREATE TABLE t (id bigserial PRIMARY KEY); CREATE TABLE u (t_id int CONSTRAINT k REFERENCES t); SELECT setval('t_id_seq', 2147000000)`, "k u.t_id integer 2147483647 483647", "nearly_exhausted"},
		{"far from its end", `CREATE TABLE t (id bigserial PRIMARY KEY); CREATE TABLE u (t_id int CONSTRAINT k REFERENCES t); SELECT setval('t_id_seq', 1000)`, "k u.t_id integer 2147483647 2147482647", "in_sync"},
		{"past its end", `CREATE TABLE t (id bigserial PRIMARY KEY); CREATE TABLE u (t_id int CONSTRAINT k REFERENCES t); SELECT setval('t_id_seq', 3000000000)`, "k u.t_id integer 2147483647 0", "nearly_exhausted"},
		{"int2 to int4", `CREATE TABLE t (id serial PRIMARY KEY); CREATE TABLE u (t_id smallint CONSTRAINT k REFERENCES t)`, "k u.t_id smallint 32767 32767", "in_sync"},
		{"the same type", `CREATE TABLE t (id serial PRIMARY KEY); CREATE TABLE u (t_id int REFERENCES t)`, "", "in_sync"},
		{"a wider type", `CREATE TABLE t (id serial PRIMARY KEY); CREATE TABLE u (t_id bigint REFERENCES t)`, "", "in_sync"},
		{"a sequence that ends where the key does", `CREATE SEQUENCE s AS int; CREATE TABLE t (id bigint PRIMARY KEY DEFAULT nextval('s')); CREATE TABLE u (t_id int REFERENCES t)`, "", "in_sync"},
		{"to itself", `CREATE TABLE t (id bigserial PRIMARY KEY, parent int CONSTRAINT k REFERENCES t)`, "k t.parent integer 2147483647 2147483647", "in_sync"},
		{"a domain", `CREATE DOMAIN ref AS int; CREATE TABLE t (id bigserial PRIMARY KEY); CREATE TABLE u (t_id ref CONSTRAINT k REFERENCES t)`, "k u.t_id ref 2147483647 2147483647", "in_sync"},
		{"one column of several", `CREATE TABLE t (tenant int, id bigserial, PRIMARY KEY (tenant, id)); CREATE TABLE u (tenant int, t_id int, CONSTRAINT k FOREIGN KEY (tenant, t_id) REFERENCES t)`, "k u.t_id integer 2147483647 2147483647", "in_sync"},
		{"a partitioned table that points", `CREATE TABLE t (id bigserial PRIMARY KEY); CREATE TABLE u (t_id int CONSTRAINT k REFERENCES t) PARTITION BY RANGE (t_id); CREATE TABLE u_1 PARTITION OF u DEFAULT`, "k u.t_id integer 2147483647 2147483647", "in_sync"},
		{"a partitioned table that is pointed to", `CREATE TABLE t (id bigserial PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE t_1 PARTITION OF t DEFAULT; CREATE TABLE u (t_id int CONSTRAINT k REFERENCES t)`, "k u.t_id integer 2147483647 2147483647", "in_sync"},
		{"descending", `CREATE TABLE t (id bigserial PRIMARY KEY); ALTER SEQUENCE t_id_seq INCREMENT -1 MINVALUE -9000000000 MAXVALUE -1 START -1 RESTART; CREATE TABLE u (t_id int CONSTRAINT k REFERENCES t); SELECT setval('t_id_seq', -2147483640)`, "k u.t_id integer -2147483648 8", "nearly_exhausted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(c.make)
			f := only(t, p)
			var told []string
			for _, k := range f.Narrow {
				if k.Schema != p.Schema {
					t.Errorf("schema %q", k.Schema)
				}
				told = append(told, fmt.Sprintf("%s %s.%s %s %d %d", k.Constraint, k.Table, k.Column, k.Type, k.Limit, k.Remaining))
			}
			if got := strings.Join(told, "\n"); got != c.want || string(f.State) != c.state {
				t.Errorf("%s, %s, want %s, %s", got, f.State, c.want, c.state)
			}
		})
	}
}

// A sequence that cycles is told how far the next row in front of it is.
func TestAnAuditOfASequenceThatCycles(t *testing.T) {
	t.Parallel()
	for make, want := range map[string]int64{
		`INSERT INTO t VALUES (20), (40)`:                                20,
		`INSERT INTO t VALUES (20), (40); SELECT setval('t_id_seq', 25)`: 15,
		`INSERT INTO t VALUES (20), (40); SELECT setval('t_id_seq', 40)`: 0,
		`ALTER SEQUENCE t_id_seq INCREMENT 7; INSERT INTO t VALUES (20)`: 4,
		``: 0,
		`ALTER SEQUENCE t_id_seq INCREMENT -1 MINVALUE -1000 MAXVALUE -1 START -1 RESTART; INSERT INTO t VALUES (-9), (-5)`: 5,
	} {
		p := pgtest.New(t)
		p.Exec(`CREATE TABLE t (id serial PRIMARY KEY); ALTER SEQUENCE t_id_seq MAXVALUE 1000 CYCLE; ` + make)
		if f := only(t, p); f.CycleAhead != want || f.State != plugin.StateInSync || f.Behind != 0 {
			t.Errorf("%s: %d ahead, want %d: %v", make, f.CycleAhead, want, f)
		}
	}
}

func TestUnusedSequences(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE t (id serial PRIMARY KEY, other bigint GENERATED ALWAYS AS IDENTITY); CREATE SEQUENCE lonely INCREMENT -1; CREATE SEQUENCE held OWNED BY t.id;
		CREATE SEQUENCE seen; CREATE VIEW v AS SELECT nextval('seen');
		CREATE TABLE filled (id bigint); CREATE SEQUENCE filler OWNED BY filled.id; CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.id := nextval('filler'); RETURN NEW; END $$;
		CREATE TRIGGER fill BEFORE INSERT ON filled FOR EACH ROW EXECUTE FUNCTION fill()`)
	findings, err := plugin.Audit(t.Context(), p.Open(nil), plugin.InSchemas(p.Schema), plugin.WithUnusedSequences())
	var got []string
	for _, f := range findings {
		if f.State == plugin.StateUnused {
			got = append(got, strings.ReplaceAll(fmt.Sprintf("%s %s %s %d", f.Sequence, f.Table, f.Column, f.Increment), p.Schema, "$S"))
		}
	}
	if want := `"$S"."held" t id 1, "$S"."lonely"   -1`; err != nil || strings.Join(got, ", ") != want {
		t.Errorf("%v: %s, want %s", err, strings.Join(got, ", "), want)
	}
}

// The choice is the caller's; sharing a sequence still counts when it is moved.
func TestAnAuditOfTheTablesThatAFunctionWants(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(behindA + behindB + `CREATE SEQUENCE s; CREATE TABLE t (id bigint PRIMARY KEY DEFAULT nextval('s')); CREATE TABLE sister (id bigint PRIMARY KEY DEFAULT nextval('s')); INSERT INTO t VALUES (5); INSERT INTO sister VALUES (50)`)
	findings, err := plugin.Audit(t.Context(), p.Open(nil), plugin.InSchemas(p.Schema), plugin.AndResync(), plugin.OnlyTables(func(schema, table string) bool {
		return schema == p.Schema && (table == "t" || table == "b")
	}))
	if got := toldAll(findings); err != nil || got != "b.id integer in_sync 20 of 20 moved 1 to 20\nt.id bigint in_sync 50 of 5 moved 1 to 50" {
		t.Errorf("%v\n%s", err, got)
	}
	if next := p.Int("SELECT nextval('a_id_seq')"); next != 1 {
		t.Errorf("a's sequence gives %d", next)
	}
}

// A schema that the role may not use is not passed over in silence, if that is asked for.
func TestAnAuditOfEverySchema(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(behindA)
	role := p.Role()
	p.Exec("REVOKE USAGE ON SCHEMA $S FROM " + role)
	db := p.OpenDSN(p.DSNFor(map[string]string{"user": role}), nil)
	for _, c := range []struct {
		options []plugin.AuditOption
		want    int
	}{{nil, 0}, {[]plugin.AuditOption{plugin.InEverySchema()}, 1}} {
		mine := 0
		findings, err := plugin.Audit(t.Context(), db, append(c.options, plugin.WithUnusedSequences())...)
		for _, f := range findings {
			if f.Schema == p.Schema && f.Reason == plugin.ReasonPermission && strings.Contains(f.Err.Error(), "GRANT USAGE ON SCHEMA") {
				mine++
			}
		}
		if err != nil || mine != c.want {
			t.Errorf("%v: %d findings of the schema, want %d", err, mine, c.want)
		}
	}
}

func TestNearlyExhaustedFromAShareOfTheCallers(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE t (id smallserial PRIMARY KEY); SELECT setval('t_id_seq', 20000)`)
	for share, want := range map[float64]plugin.State{0.6: plugin.StateNearlyExhausted, 0.7: plugin.StateInSync} {
		if f := only(t, p, plugin.WithNearlyExhausted(share)); f.State != want {
			t.Errorf("%v: %v", share, f)
		}
	}
}

// Many short moves go in one transaction; a sequence that another session is moving, under
// the lock of a heal, is waited for by itself and then named.
func TestManySequencesAreMovedTogether(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`DO $$ BEGIN FOR i IN 100..139 LOOP EXECUTE format('CREATE TABLE t_%s (id serial PRIMARY KEY)', i); EXECUTE format('INSERT INTO t_%s VALUES (%s)', i, i); END LOOP; END $$`)
	holder, err := p.SQL.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Rollback() }()
	if _, err := holder.Exec("SELECT pg_advisory_xact_lock(1936028008, $1::oid::int4)", p.Int("SELECT 't_120_id_seq'::regclass::oid::int8")); err != nil {
		t.Fatal(err)
	}
	var steps []int
	findings, err := plugin.Audit(t.Context(), p.Open(nil), plugin.InSchemas(p.Schema), plugin.AndResync(), plugin.WithTableTimeout(300*time.Millisecond),
		plugin.OnProgress(func(done, total int) { steps = append(steps, done) }))
	if err == nil || !strings.Contains(err.Error(), "t_120_id_seq") || strings.Contains(err.Error(), "t_121_id_seq") {
		t.Errorf("%v", err)
	}
	for i, f := range findings {
		id := int64(100 + i)
		if moved := id != 120; f.Moved != moved || moved && (f.To != id || f.From != 1 || f.State != plugin.StateInSync) || !moved && f.Reason != plugin.ReasonTimeout {
			t.Errorf("%s", told(f))
		}
		if at := p.Int(fmt.Sprintf("SELECT last_value FROM t_%d_id_seq", id)); (at == id) != f.Moved {
			t.Errorf("t_%d_id_seq is at %d", id, at)
		}
	}
	if len(findings) != 40 || steps[len(steps)-1] != 80 {
		t.Errorf("%d findings, progress %v", len(findings), steps)
	}
	if n := p.Int("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1936028008 AND objid IN (SELECT oid FROM pg_class WHERE relnamespace = '$S'::regnamespace) AND pid <> pg_backend_pid()"); n != 1 {
		t.Errorf("%d advisory locks instead of the holder's", n)
	}
}

// A sequence that is set far back between the reading and the moves is not walked all the
// way, but moved by itself.
func TestASequenceIsSetFarBackBeforeItIsMovedWithOthers(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`DO $$ BEGIN FOR i IN 100..119 LOOP EXECUTE format('CREATE TABLE t_%s (id bigserial PRIMARY KEY)', i); EXECUTE format('INSERT INTO t_%s VALUES (%s)', i, i); END LOOP; END $$;
		INSERT INTO t_110 VALUES (1000000000000); SELECT setval('t_110_id_seq', 999999999000)`)
	findings, err := plugin.Audit(t.Context(), p.Open(nil), plugin.InSchemas(p.Schema), plugin.AndResync(), plugin.OnProgress(func(done, total int) {
		if done == 20 && total == 20 {
			p.Exec("SELECT setval('t_110_id_seq', 1)")
		}
	}))
	if err != nil || len(findings) != 20 {
		t.Fatalf("%v: %d findings", err, len(findings))
	}
	for _, f := range findings {
		if want := f.Furthest; !f.Moved || f.To != want || p.Int("SELECT last_value FROM "+f.Sequence) != want {
			t.Error(told(f))
		}
	}
}

// What is written as JSON can be read again, all of it.
func TestAFindingAsJSONAndBack(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	for _, f := range []plugin.Finding{
		{Schema: "s", Table: "t", Column: "c", Type: "bigint", Sequence: `"s"."q"`, Increment: -2, Cache: 3, Cycle: true, Last: math.MinInt64, Furthest: math.MaxInt64, FurthestKnown: true,
			Estimated: true, Left: 7, Behind: 8, Used: 0.25, Limit: math.MaxInt64, LimitedByColumn: true, Remaining: 9, CycleAhead: 10, PerDay: 1.5, Ends: at, Forecast: plugin.ForecastStatistics,
			Narrow: []plugin.NarrowKey{{Constraint: "k", Schema: "s", Table: "u", Column: "d", Type: "integer", Limit: 1, Used: 0.5, Remaining: 2}},
			Time:   at, State: plugin.StateBehind, Reason: plugin.ReasonTimeout, Err: errors.New("x"), Moved: true, From: 1, To: 2},
		{Schema: "s", Sequence: `"s"."q"`, Increment: 1, Time: at, State: plugin.StateUnused},
		{Table: "t", Time: at, State: plugin.StateUnreadable, Reason: plugin.ReasonNotFound, Err: errors.New("x")},
	} {
		text, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		var again plugin.Finding
		if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(f, again) {
			t.Errorf("%v\n got %+v\nwant %+v\n%s", err, again, f, text)
		}
		// The structured log has the same names.
		var fields map[string]any
		_ = json.Unmarshal(text, &fields)
		group := f.LogValue().Group()
		for _, attr := range group {
			if _, ok := fields[attr.Key]; !ok || attr.Value.Kind() == slog.KindGroup {
				t.Errorf("%s is not in the JSON", attr.Key)
			}
		}
		if len(group) != len(fields) {
			t.Errorf("%d fields in the log, %d in JSON", len(group), len(fields))
		}
	}
	if err := json.Unmarshal([]byte(`{"last":"x"}`), new(plugin.Finding)); err == nil {
		t.Error("a text was taken for a number")
	}
}
