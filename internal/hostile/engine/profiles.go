package engine

import "github.com/jackc/pgx/v5/pgproto3"

// Profiles are what is played. None of these engines was run.
var Profiles = []Profile{
	{
		Name:       "no SAVEPOINT, no setval, 40001 at COMMIT",
		Source:     "Aurora DSQL User Guide, 'Unsupported PostgreSQL features' and 'Concurrency control': no SAVEPOINT, no CREATE SEQUENCE of old, no PL/pgSQL; conflicts are reported at COMMIT",
		Statements: []Rewrite{Lacks("SAVEPOINT", "0A000"), Becomes(`\bpg_catalog\.setval\(`, "pg_catalog.no_setval("), noAdvisory},

		CommitFails: 5,
	},
	{
		Name:       "no advisory locks",
		Source:     "yugabyte-db issue 3642: before 2025.1 their use fails with 0A000, 'advisory locks are not yet implemented'",
		Statements: []Rewrite{noAdvisory},
	},
	{
		Name:   "CACHE 100, no detail and no names in 23505",
		Source: "YugabyteDB, 'nextval' and ysql_sequence_cache_minval, which is 100; yugabyte-db issue 2082: a 23505 without the constraint's name",
		Setup:  "ALTER SEQUENCE users_id_seq CACHE 100",
		Violation: func(e *pgproto3.ErrorResponse) {
			e.Detail, e.SchemaName, e.TableName, e.ConstraintName = "", "", "", ""
			e.Message = `duplicate key value violates unique constraint ""`
		},
	},
	{
		Name:   "no names in 23505",
		Source: "postgres_fdw and other relays of errors pass on message and detail alone (PostgreSQL manual 55.8: every other field may be absent)",
		Violation: func(e *pgproto3.ErrorResponse) {
			e.SchemaName, e.TableName, e.ConstraintName = "", "", ""
		},
	},
	{
		Name:   "nothing but the code in 23505",
		Source: "PostgreSQL manual 55.8: code and message are always there, every other field may be absent",
		Violation: func(e *pgproto3.ErrorResponse) {
			*e = pgproto3.ErrorResponse{Severity: e.Severity, Code: e.Code, Message: "duplicate key"}
		},
	},
	{
		Name:   "names of shards in 23505",
		Source: "Citus, 'Concepts' (shards are tables name_shardid) and citus issue 4239: the index of a shard is name_shardid as well",
		Violation: func(e *pgproto3.ErrorResponse) {
			e.TableName += "_102008"
			e.ConstraintName += "_102008"
		},
	},
	{
		Name:       "no sequence functions",
		Source:     "functions of the server that an engine may not have: pg_sequence_last_value, pg_sequence_parameters, pg_get_serial_sequence",
		Statements: []Rewrite{Becomes(`\bpg_catalog\.(pg_sequence_last_value|pg_sequence_parameters|pg_get_serial_sequence)\(`, "pg_catalog.no_such_function(")},
	},
	{
		Name:       "an empty pg_depend",
		Source:     "CockroachDB, 'pg_catalog': some tables are empty; which ones differs by version, and pg_depend is not named",
		Statements: []Rewrite{Becomes(`\bpg_catalog\.pg_depend\b`, "(SELECT * FROM pg_catalog.pg_depend WHERE false)")},
	},
	{
		Name:       "no pg_attrdef, no pg_rewrite",
		Source:     "of CockroachDB 20.2, 'pg_catalog': tables that have no counterpart; which ones differs by version, and these are not named",
		Statements: []Rewrite{Becomes(`\bpg_catalog\.(pg_attrdef|pg_rewrite)\b`, "pg_catalog.not_implemented")},
	},
	{
		Name:       "no transaction ids",
		Source:     "no engine's documentation: functions of PostgreSQL's storage, which engines with a storage of their own need not have",
		Statements: []Rewrite{Becomes(`\bpg_catalog\.txid_\w+\(`, "pg_catalog.no_txid("), Becomes(`\bpg_catalog\.age\(`, "pg_catalog.no_age(")},
	},
}

var noAdvisory = Lacks(`pg_(try_)?advisory\w*`, "0A000")
