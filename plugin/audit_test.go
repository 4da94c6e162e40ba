package plugin_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// told writes what a finding says, short.
func told(f plugin.Finding) string {
	text := fmt.Sprintf("%s.%s %s %s", f.Table, f.Column, f.Type, f.State)
	if f.State == plugin.StateUnreadable {
		return text + " " + string(f.Reason)
	}
	furthest := "none"
	if f.FurthestKnown {
		furthest = fmt.Sprint(f.Furthest)
	}
	text += fmt.Sprintf(" %d of %s", f.Last, furthest)
	if f.Behind != 0 {
		text += fmt.Sprintf(" behind %d", f.Behind)
	}
	if f.Estimated {
		text += " estimated"
	}
	if f.Left != 0 {
		text += fmt.Sprintf(" left %d", f.Left)
	}
	if f.Moved {
		text += fmt.Sprintf(" moved %d to %d", f.From, f.To)
	}
	if f.Reason != "" {
		text += " " + string(f.Reason)
	}
	return text
}

func toldAll(findings []plugin.Finding) string {
	lines := make([]string, len(findings))
	for i, f := range findings {
		lines[i] = told(f)
	}
	return strings.Join(lines, "\n")
}

// auditCases are tables, what an audit says of them, and what it says after a
// resync; "" for the same. $S stands for the schema.
var auditCases = []struct {
	name, make, want, after string
	// fails is true when the resync returns an error.
	fails bool
}{
	{name: "in sync", make: `CREATE TABLE t (id bigserial PRIMARY KEY); INSERT INTO t DEFAULT VALUES`, want: "t.id bigint in_sync 1 of 1"},
	{name: "empty: the first id is not used up", make: `CREATE TABLE t (id serial PRIMARY KEY)`, want: "t.id integer in_sync 0 of none"},
	{name: "behind", make: `CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t VALUES (1), (20)`,
		want: "t.id integer behind 0 of 20 behind 20", after: "t.id integer in_sync 20 of 20 moved 1 to 20"},
	{name: "behind by one", make: `CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t VALUES (DEFAULT), (2)`,
		want: "t.id integer behind 1 of 2 behind 1", after: "t.id integer in_sync 2 of 2 moved 1 to 2"},
	{name: "identity", make: `CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY); INSERT INTO t OVERRIDING SYSTEM VALUE VALUES (20)`,
		want: "t.id integer behind 0 of 20 behind 20", after: "t.id integer in_sync 20 of 20 moved 1 to 20"},
	{name: "a column that is no key", make: `CREATE TABLE t (id uuid PRIMARY KEY, number smallserial); CREATE INDEX ON t (number); INSERT INTO t VALUES (md5('x')::uuid, 7)`,
		want: "t.number smallint behind 0 of 7 behind 7", after: "t.number smallint in_sync 7 of 7 moved 1 to 7"},
	{name: "several columns of one table", make: `CREATE TABLE t (id serial PRIMARY KEY, number serial UNIQUE); INSERT INTO t VALUES (5, DEFAULT)`,
		want:  "t.id integer behind 0 of 5 behind 5\nt.number integer in_sync 1 of 1",
		after: "t.id integer in_sync 5 of 5 moved 1 to 5\nt.number integer in_sync 1 of 1"},
	{name: "a default of another sequence than the owned one", make: `CREATE TABLE t (id serial PRIMARY KEY); CREATE SEQUENCE other; ALTER TABLE t ALTER id SET DEFAULT nextval('other'); INSERT INTO t VALUES (9)`,
		want: "t.id integer behind 0 of 9 behind 9", after: "t.id integer in_sync 9 of 9 moved 1 to 9"},
	{name: "a shared sequence", make: `CREATE SEQUENCE s; CREATE TABLE a (id bigint PRIMARY KEY DEFAULT nextval('s')); CREATE TABLE b (id bigint PRIMARY KEY DEFAULT nextval('s')); INSERT INTO a VALUES (5); INSERT INTO b VALUES (50)`,
		want:  "a.id bigint behind 0 of 5 behind 5\nb.id bigint behind 0 of 50 behind 50",
		after: "a.id bigint in_sync 50 of 5 moved 1 to 50\nb.id bigint in_sync 50 of 50 moved 1 to 50"},
	{name: "odd ids", make: `CREATE TABLE t (id bigserial PRIMARY KEY); ALTER SEQUENCE t_id_seq INCREMENT 2; INSERT INTO t VALUES (20)`,
		want: "t.id bigint behind -1 of 20 behind 11", after: "t.id bigint in_sync 21 of 20 moved 1 to 21"},
	{name: "descending", make: `CREATE TABLE t (id bigserial PRIMARY KEY); ALTER SEQUENCE t_id_seq INCREMENT -1 MINVALUE -1000 MAXVALUE -1 START -1 RESTART; INSERT INTO t VALUES (-20)`,
		want: "t.id bigint behind 0 of -20 behind 20", after: "t.id bigint in_sync -20 of -20 moved -1 to -20"},
	{name: "CACHE", make: `CREATE TABLE t (id bigserial PRIMARY KEY); ALTER SEQUENCE t_id_seq CACHE 20; INSERT INTO t VALUES (50)`,
		want: "t.id bigint behind 0 of 50 behind 50", after: "t.id bigint in_sync 50 of 50 moved 1 to 50"},
	{name: "far behind", make: `CREATE TABLE t (id bigserial PRIMARY KEY); INSERT INTO t VALUES (1000000000000)`,
		want: "t.id bigint behind 0 of 1000000000000 behind 1000000000000", after: "t.id bigint in_sync 1000000000000 of 1000000000000 moved 1 to 1000000000000"},
	{name: "another node's range", make: `CREATE TABLE t (id bigserial PRIMARY KEY); ALTER SEQUENCE t_id_seq MAXVALUE 1000; INSERT INTO t VALUES (20), (5000)`,
		want: "t.id bigint behind 0 of 20 behind 20", after: "t.id bigint in_sync 20 of 20 moved 1 to 20"},
	{name: "partitions", make: `CREATE TABLE t (id bigserial, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
		CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2026-01-01') TO ('2026-02-01'); CREATE TABLE t_2 PARTITION OF t DEFAULT; INSERT INTO t VALUES (7, '2026-01-05'), (20, '2026-03-01')`,
		want: "t.id bigint behind 0 of 20 behind 20", after: "t.id bigint in_sync 20 of 20 moved 1 to 20"},
	{name: "more partitions than locks", make: `CREATE TABLE t (id bigserial, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
		DO $$ BEGIN FOR i IN 1..150 LOOP EXECUTE format('CREATE TABLE t_%s PARTITION OF t FOR VALUES IN (%s)', i, i); END LOOP; END $$; INSERT INTO t VALUES (7, 3), (20, 149)`,
		want: "t.id bigint behind 0 of 20 behind 20", after: "t.id bigint in_sync 20 of 20 moved 1 to 20"},
	{name: "partitions with sequences of their own", make: `CREATE TABLE t (id bigserial, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k); CREATE TABLE t_2 PARTITION OF t FOR VALUES IN (2);
		CREATE TABLE t_1 (id bigserial, k int NOT NULL); ALTER TABLE t ATTACH PARTITION t_1 FOR VALUES IN (1); INSERT INTO t_1 VALUES (20, 1); INSERT INTO t_2 VALUES (30, 2)`,
		want:  "t.id bigint behind 0 of 30 behind 30\nt_1.id bigint behind 0 of 20 behind 20",
		after: "t.id bigint in_sync 30 of 30 moved 1 to 30\nt_1.id bigint in_sync 20 of 20 moved 1 to 20"},
	{name: "a partition with a sequence, a root without", make: `CREATE TABLE t (id bigint, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
		CREATE TABLE t_1 (id bigserial, k int NOT NULL); ALTER TABLE t ATTACH PARTITION t_1 FOR VALUES IN (1); INSERT INTO t_1 VALUES (20, 1)`,
		want: "t_1.id bigint behind 0 of 20 behind 20", after: "t_1.id bigint in_sync 20 of 20 moved 1 to 20"},
	{name: "inheritance", make: `CREATE TABLE t (id serial PRIMARY KEY); CREATE TABLE u (PRIMARY KEY (id)) INHERITS (t); INSERT INTO t VALUES (5); INSERT INTO u VALUES (20)`,
		want:  "t.id integer behind 0 of 20 behind 20\nu.id integer behind 0 of 20 behind 20",
		after: "t.id integer in_sync 20 of 20 moved 1 to 20\nu.id integer in_sync 20 of 20 moved 1 to 20"},
	{name: "a small table without an index", make: `CREATE TABLE t (id serial); INSERT INTO t VALUES (20)`,
		want: "t.id integer behind 0 of 20 behind 20", after: "t.id integer in_sync 20 of 20 moved 1 to 20"},
	{name: "a large table without an index", make: `CREATE TABLE t (id serial, filler text); ALTER TABLE t ALTER filler SET STORAGE PLAIN;
		INSERT INTO t SELECT g, repeat('x', 7000) FROM generate_series(1, 1200) g; ANALYZE t`, fails: true,
		want:  "t.id integer behind 0 of 1200 behind 1200 estimated",
		after: "t.id integer behind 0 of 1200 behind 1200 estimated no_index"},
	{name: "a large table without an index or statistics", make: `CREATE TABLE t (id serial, filler text) WITH (autovacuum_enabled = off); ALTER TABLE t ALTER filler SET STORAGE PLAIN;
		INSERT INTO t SELECT g, repeat('x', 7000) FROM generate_series(1, 1200) g`, fails: true,
		want: "t.id integer unreadable no_index"},
	{name: "a sentinel near the end of the range", make: `CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t VALUES (20), (2147483640)`,
		want: "t.id integer behind 0 of 20 behind 20 left 2147483640", after: "t.id integer in_sync 20 of 20 left 2147483640 moved 1 to 20"},
	{name: "a sentinel in a small table without an index", make: `CREATE TABLE t (id serial); INSERT INTO t VALUES (20), (2147483647)`,
		want: "t.id integer behind 0 of 20 behind 20 left 2147483647", after: "t.id integer in_sync 20 of 20 left 2147483647 moved 1 to 20"},
	{name: "a sentinel alone", make: `CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t VALUES (2147483640)`,
		want: "t.id integer in_sync 0 of none left 2147483640"},
	{name: "nearly exhausted", make: `CREATE TABLE t (id smallserial PRIMARY KEY); INSERT INTO t VALUES (30000); SELECT setval('t_id_seq', 30000)`,
		want: "t.id smallint nearly_exhausted 30000 of 30000"},
	{name: "exhausted by the column's type", make: `CREATE SEQUENCE s; CREATE TABLE t (id smallint PRIMARY KEY DEFAULT nextval('s')); SELECT setval('s', 32767)`,
		want: "t.id smallint exhausted 32767 of none"},
	{name: "behind, and no value left", make: `CREATE TABLE t (id smallserial PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 32767)`, fails: true,
		want: "t.id smallint exhausted 0 of 32767 behind 32767", after: "t.id smallint exhausted 0 of 32767 behind 32767 exhausted"},
	{name: "CYCLE is never behind", make: `CREATE TABLE t (id serial PRIMARY KEY); ALTER SEQUENCE t_id_seq CYCLE; INSERT INTO t VALUES (20)`,
		want: "t.id integer in_sync 0 of 20"},
	{name: "a default that is more than nextval", make: `CREATE SEQUENCE s; CREATE TABLE t (id bigint PRIMARY KEY DEFAULT nextval('s') * 1000 + 7); INSERT INTO t VALUES (500007)`,
		want: "t.id bigint unreadable unsupported"},
	{name: "a default that names its sequence by a text", make: `CREATE SEQUENCE s; CREATE TABLE t (id bigint PRIMARY KEY DEFAULT nextval('s'::text), n int DEFAULT 5); INSERT INTO t VALUES (20); CREATE TABLE a (id serial PRIMARY KEY); CREATE TABLE z (id serial PRIMARY KEY)`,
		want: "a.id integer in_sync 0 of none\nt.id bigint unreadable unsupported\nz.id integer in_sync 0 of none"},
	{name: "filled by a trigger", make: `CREATE TABLE t (id bigint PRIMARY KEY); CREATE SEQUENCE s OWNED BY t.id;
		CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.id := coalesce(NEW.id, nextval('s')); RETURN NEW; END $$;
		CREATE TRIGGER fill BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION fill(); INSERT INTO t VALUES (20)`,
		want: "t.id bigint behind 0 of 20 behind 20", after: "t.id bigint in_sync 20 of 20 moved 1 to 20"},
	{name: "a sequence that only belongs to the column", make: `CREATE TABLE t (id bigint PRIMARY KEY); CREATE SEQUENCE s OWNED BY t.id; INSERT INTO t VALUES (20)`, want: ""},
	{name: "a numeric key", make: `CREATE SEQUENCE s; CREATE TABLE t (id numeric(30,0) PRIMARY KEY DEFAULT nextval('s')); INSERT INTO t VALUES (20), (100000000000000000000)`,
		want: "t.id numeric(30,0) behind 0 of 20 behind 20", after: "t.id numeric(30,0) in_sync 20 of 20 moved 1 to 20"},
	{name: "a domain", make: `CREATE DOMAIN "User Id" AS int; CREATE SEQUENCE s; CREATE TABLE t (id "User Id" PRIMARY KEY DEFAULT nextval('s')); INSERT INTO t VALUES (20)`,
		want: `t.id "User Id" behind 0 of 20 behind 20`, after: `t.id "User Id" in_sync 20 of 20 moved 1 to 20`},
	{name: "a domain over a domain", make: `CREATE DOMAIN inner_id AS numeric(20,0); CREATE DOMAIN outer_id AS inner_id; CREATE SEQUENCE s;
		CREATE TABLE t (id outer_id PRIMARY KEY DEFAULT nextval('s')); INSERT INTO t VALUES (20)`,
		want: `t.id outer_id behind 0 of 20 behind 20`, after: `t.id outer_id in_sync 20 of 20 moved 1 to 20`},
	{name: "hostile names", make: `CREATE TABLE "x'); DROP TABLE y; --" ("a"" = 1) --" serial PRIMARY KEY); INSERT INTO "x'); DROP TABLE y; --" VALUES (20)`,
		want:  `x'); DROP TABLE y; --.a" = 1) -- integer behind 0 of 20 behind 20`,
		after: `x'); DROP TABLE y; --.a" = 1) -- integer in_sync 20 of 20 moved 1 to 20`},
	{name: "from one end of bigint into its other half", make: `CREATE TABLE t (id bigserial PRIMARY KEY); ALTER SEQUENCE t_id_seq MINVALUE -9223372036854775808 START -9223372036854775808 RESTART; INSERT INTO t VALUES (5000000000000000000)`,
		want:  fmt.Sprintf("t.id bigint behind %d of 5000000000000000000 behind %d", math.MinInt64, math.MaxInt64),
		after: fmt.Sprintf("t.id bigint in_sync 5000000000000000000 of 5000000000000000000 moved %d to 5000000000000000000", math.MinInt64)},
	{name: "the ends of bigint", make: `CREATE TABLE t (id bigserial PRIMARY KEY); ALTER SEQUENCE t_id_seq MINVALUE -9223372036854775808 START -9223372036854775808 RESTART; INSERT INTO t VALUES (-9223372036854775807)`,
		want: fmt.Sprintf("t.id bigint behind %d of %d behind 1", math.MinInt64, math.MinInt64+1), after: fmt.Sprintf("t.id bigint in_sync %d of %d moved %d to %d", math.MinInt64+1, math.MinInt64+1, math.MinInt64, math.MinInt64+1)},
}

func TestAuditAndResyncOfEveryKind(t *testing.T) {
	t.Parallel()
	for _, c := range auditCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(c.make)
			db := p.Open(nil)
			rows := everyRow(p)
			findings, err := plugin.Audit(t.Context(), db, plugin.InSchemas(p.Schema))
			if got := toldAll(findings); err != nil || got != c.want {
				t.Errorf("audit: %v\n got %s\nwant %s", err, got, c.want)
			}
			if c.after == "" {
				c.after = c.want
			}
			findings, err = plugin.Audit(t.Context(), db, plugin.InSchemas(p.Schema), plugin.AndResync())
			if got := toldAll(findings); got != c.after || (err != nil) != c.fails {
				t.Errorf("resync: %v\n got %s\nwant %s", err, got, c.after)
			}
			if after := everyRow(p); after != rows {
				t.Errorf("rows changed:\n%s\nbefore:\n%s", after, rows)
			}
		})
	}
}

// everyRow is the contents of all tables of a place.
func everyRow(p *pgtest.Place) string {
	return p.Text(`SELECT c.relname, query_to_xml(format('SELECT * FROM %s ORDER BY 1', c.oid::regclass), true, false, '')
		FROM pg_class c WHERE c.relnamespace = '$S'::regnamespace AND c.relkind = 'r' AND c.reltuples <= 0 ORDER BY 1`)
}

// What Finding.SQL gives does the same as a resync, also where the audit is old.
func TestTheStatementsOfAFindingMoveItsSequence(t *testing.T) {
	t.Parallel()
	for _, c := range auditCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(c.make)
			db := p.Open(nil)
			findings, err := plugin.Audit(t.Context(), db, plugin.InSchemas(p.Schema))
			if err != nil {
				t.Fatal(err)
			}
			furthest := map[string]int64{} // by the sequence that is moved
			for range 2 {
				for _, f := range findings {
					if want := f.State == plugin.StateBehind && !f.Estimated; (f.SQL() != "") != want {
						t.Errorf("%s: SQL %q", told(f), f.SQL())
					} else if want {
						p.Exec(f.SQL())
						if at, ok := furthest[f.Sequence]; !ok || (f.Furthest > at) == (f.Increment > 0) {
							furthest[f.Sequence] = f.Furthest
						}
					}
				}
			}
			findings, err = plugin.Audit(t.Context(), db, plugin.InSchemas(p.Schema))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range findings {
				if f.State == plugin.StateBehind && !f.Estimated {
					t.Errorf("still behind: %s", told(f))
				}
				at, moved := furthest[f.Sequence]
				if !moved {
					continue
				}
				if past := (f.Last - at) / f.Increment; past > f.Cache*int64(2*len(findings)) {
					t.Errorf("%d values beyond %d after two runs: %s", past, at, told(f))
				}
			}
		})
	}
}

func TestTablesAreFoundByTheNamesPeopleWrite(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE "Users" (id serial PRIMARY KEY); CREATE TABLE "a.b" (id serial PRIMARY KEY); CREATE TABLE other (id serial PRIMARY KEY);
		CREATE TABLE parted (id serial PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE parted_1 PARTITION OF parted DEFAULT;
		CREATE TABLE top (k int, id int) PARTITION BY LIST (k); CREATE TABLE leaf (k int, id serial); ALTER TABLE top ATTACH PARTITION leaf DEFAULT; CREATE VIEW seen AS SELECT * FROM other`)
	db := p.Open(nil)
	// A prefix is how GORM is told of a schema.
	prefixed := p.Open(&gorm.Config{NamingStrategy: schema.NamingStrategy{TablePrefix: p.Schema + ".", SingularTable: true, NoLowerCase: true}})
	type Users struct{ ID int }
	for _, c := range []struct {
		db     *gorm.DB
		option plugin.AuditOption
		want   string
		fails  bool
	}{
		{option: plugin.OfTables("Users"), want: "Users.id integer in_sync 0 of none"},
		{option: plugin.OfTables(p.Schema + ".Users"), want: "Users.id integer in_sync 0 of none"},
		{option: plugin.OfTables(`"` + p.Schema + `"."Users"`), want: "Users.id integer in_sync 0 of none"},
		{option: plugin.OfTables(`"a.b"`), want: "a.b.id integer in_sync 0 of none"},
		{option: plugin.OfTables("other", "Users"), want: "Users.id integer in_sync 0 of none\nother.id integer in_sync 0 of none"},
		{option: plugin.OfTables("parted_1"), want: "parted.id integer in_sync 0 of none"},
		{option: plugin.OfTables("leaf"), want: "leaf.id integer in_sync 0 of none"},
		{option: plugin.OfTables("top"), want: "leaf.id integer in_sync 0 of none"},
		{option: plugin.OfTables("users", "other"), want: "users.  unreadable not_found\nother.id integer in_sync 0 of none", fails: true},
		{option: plugin.OfTables("seen"), want: "seen.  unreadable unsupported", fails: true},
		{option: plugin.OfTables("a.b.c"), want: "a.b.c.  unreadable not_found", fails: true},
		{option: plugin.OfTables(`"`), want: `".  unreadable not_found`, fails: true},
		{option: plugin.OfModels(&user{}), want: "users.  unreadable not_found", fails: true},
		{db: prefixed, option: plugin.OfModels(&Users{}), want: "Users.id integer in_sync 0 of none"},
	} {
		if c.db == nil {
			c.db = db
		}
		findings, err := plugin.Audit(t.Context(), c.db, c.option)
		if got := toldAll(findings); err != nil || got != c.want {
			t.Errorf("audit: %v\n got %s\nwant %s", err, got, c.want)
		}
		if _, err = plugin.Audit(t.Context(), c.db, c.option, plugin.AndResync()); (err != nil) != c.fails {
			t.Errorf("resync of %s: %v", c.want, err)
		}
	}
}

// Without a choice the audit is of the schemas that the role may use: another
// application's in the same database are none of its business.
func TestAnAuditOfWhatTheRoleMayUse(t *testing.T) {
	t.Parallel()
	p, other := pgtest.New(t), pgtest.New(t)
	p.Exec(behindA)
	other.Exec(behindB)
	role := p.Role()
	p.Exec("GRANT SELECT ON a TO " + role + "; GRANT ALL ON SEQUENCE a_id_seq TO " + role)
	other.Exec("GRANT SELECT ON b TO " + role + "; GRANT ALL ON SEQUENCE b_id_seq TO " + role) // but for the schema
	findings, err := plugin.Audit(t.Context(), p.OpenDSN(p.DSNFor(map[string]string{"user": role}), nil))
	var schemas []string
	for _, f := range findings {
		schemas = append(schemas, f.Schema)
	}
	if err != nil || !slices.Contains(schemas, p.Schema) || slices.Contains(schemas, other.Schema) {
		t.Errorf("%v, schemas %v", err, schemas)
	}
}
