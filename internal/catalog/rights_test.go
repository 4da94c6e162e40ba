package catalog_test

import (
	"math"
	"testing"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/pgtest"
)

func TestReadTellsTheSequencesDefinition(t *testing.T) {
	t.Parallel()
	full := catalog.Sequence{Name: "t_id_seq", Min: 1, Max: math.MaxInt64, Increment: 1, Cache: 1, CanUse: true, CanUpdate: true, CanRead: true, CanAsk: true, Feeders: 1}
	with := func(change func(*catalog.Sequence)) catalog.Sequence {
		s := full
		change(&s)
		return s
	}
	const table = `CREATE TABLE t (id bigserial PRIMARY KEY);`
	for _, test := range []struct {
		name, setup string
		want        catalog.Sequence
	}{
		{"bigserial", table, full},
		{"smallserial ends with its type", `CREATE TABLE t (id smallserial PRIMARY KEY)`, with(func(s *catalog.Sequence) { s.Max = math.MaxInt16 })},
		{"identity", `CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY (START 5 INCREMENT 7) PRIMARY KEY)`,
			with(func(s *catalog.Sequence) { s.Max, s.Increment = math.MaxInt32, 7 })},
		{"bounds, cache and cycle", table + `ALTER SEQUENCE t_id_seq MINVALUE -5 MAXVALUE 500 CACHE 20 CYCLE`,
			with(func(s *catalog.Sequence) { s.Min, s.Max, s.Cache, s.Cycle = -5, 500, 20, true })},
		{"descending", table + `ALTER SEQUENCE t_id_seq INCREMENT -3 MINVALUE -900 MAXVALUE 1`,
			with(func(s *catalog.Sequence) { s.Min, s.Max, s.Increment = -900, 1, -3 })},
		{"shared by two tables", table + `CREATE TABLE sister (id bigint DEFAULT nextval('t_id_seq') PRIMARY KEY)`,
			with(func(s *catalog.Sequence) { s.Feeders = 2 })},
		{"shared by a column that is no key", table + `CREATE TABLE sister (n bigint DEFAULT 1 + nextval('t_id_seq'))`,
			with(func(s *catalog.Sequence) { s.Feeders = 2 })},
		{"partitions are one column", `CREATE TABLE t (id bigserial PRIMARY KEY) PARTITION BY RANGE (id);
			CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (1) TO (9); CREATE TABLE t_2 PARTITION OF t DEFAULT`, full},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(test.setup)
			got := read(t, p.Open(nil), catalog.Name{Table: "t"}, catalog.Name{}).Sequence
			test.want.OID, test.want.Schema = p.Int("SELECT 't_id_seq'::regclass::oid::int8"), p.Schema
			if got != test.want {
				t.Errorf("\n got %+v\nwant %+v", got, test.want)
			}
		})
	}
}

func TestReadTellsWhatTheRoleMayDoWithTheSequence(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, grant       string
		use, update, read bool
	}{
		{"nothing", ``, false, false, false},
		{"SELECT alone", `GRANT SELECT ON SEQUENCE t_id_seq TO $R`, false, false, true},
		{"USAGE", `GRANT USAGE ON SEQUENCE t_id_seq TO $R`, true, false, false},
		{"UPDATE", `GRANT UPDATE ON SEQUENCE t_id_seq TO $R`, true, true, false},
		{"owner", `ALTER TABLE t OWNER TO $R`, true, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(`CREATE TABLE t (id bigserial PRIMARY KEY)`)
			s := read(t, asRole(t, p, test.grant), catalog.Name{Table: "t"}, catalog.Name{}).Sequence
			if s.CanUse != test.use || s.CanUpdate != test.update || s.CanRead != test.read {
				t.Errorf("CanUse %v, CanUpdate %v, CanRead %v; want %v, %v, %v", s.CanUse, s.CanUpdate, s.CanRead, test.use, test.update, test.read)
			}
		})
	}
}

func TestReadTellsWhatTheRoleSeesOfTheRows(t *testing.T) {
	t.Parallel()
	const secured = `CREATE TABLE t (id bigserial, tenant text, PRIMARY KEY (id, tenant)); ALTER TABLE t ENABLE ROW LEVEL SECURITY;`
	const open = `CREATE TABLE t (id bigserial, tenant text, PRIMARY KEY (id, tenant));`
	healthy := facts{constraint: "t_pkey", key: "id:int8,tenant:text", column: "id", sequence: "t_id_seq"}
	hidden, unreadable := healthy, healthy
	hidden.rowSecurity, hidden.notGuardable = true, "row-level security"
	unreadable.unreadable, unreadable.notGuardable = true, "no SELECT on the key"
	for _, test := range []struct {
		name, setup, grants string
		want                facts
	}{
		{"reads everything", open, `GRANT SELECT, INSERT ON t TO $R`, healthy},
		{"reads the key", open, `GRANT SELECT (id, tenant), INSERT ON t TO $R`, healthy},
		{"reads a part of the key", open, `GRANT SELECT (id), INSERT ON t TO $R`, unreadable},
		{"reads the other part of the key", open, `GRANT SELECT (tenant), INSERT ON t TO $R`, unreadable},
		{"reads nothing", open, `GRANT INSERT ON t TO $R`, unreadable},
		{"policies bind the role", secured, `GRANT SELECT, INSERT ON t TO $R`, hidden},
		{"policies do not bind the owner", secured, `ALTER TABLE t OWNER TO $R`, healthy},
		{"policies forced on the owner", secured, `ALTER TABLE t OWNER TO $R; ALTER TABLE t FORCE ROW LEVEL SECURITY`, hidden},
		{"policies do not bind BYPASSRLS", secured, `GRANT SELECT, INSERT ON t TO $R; ALTER ROLE $R BYPASSRLS`, healthy},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(test.setup)
			check(t, asRole(t, p, test.grants+"; GRANT USAGE ON SEQUENCE t_id_seq TO $R"), catalog.Name{Table: "t"}, catalog.Name{}, test.want)
		})
	}
}

func TestReadKeepsTheGuardFromARoleThatCannotDraw(t *testing.T) {
	t.Parallel()
	refused := "no right to draw from the sequence"
	for _, test := range []struct{ name, setup, want string }{
		{"serial", `CREATE TABLE t (id bigserial PRIMARY KEY)`, refused},
		{"the first of two columns", `CREATE TABLE t (id bigserial, tenant text, PRIMARY KEY (id, tenant))`, refused},
		{"identity", `CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(test.setup)
			table := read(t, asRole(t, p, `GRANT SELECT, INSERT ON t TO $R`), catalog.Name{Table: "t"}, catalog.Name{})
			if table.NotGuardable != test.want {
				t.Errorf("not guardable: %q, want %q", table.NotGuardable, test.want)
			}
		})
	}
}
