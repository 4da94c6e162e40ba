package plugin

import (
	"time"

	"github.com/seqheal/seqheal/internal/catalog"
)

// AuditOption narrows what [Audit] covers, or adds to what it reports.
type AuditOption func(*auditSettings)

type auditSettings struct {
	schemas             []string
	everySchema, unused bool
	tables              []catalog.Name
	only                func(schema, table string) bool
	models              []any
	nearly              float64
	forecast            bool
	earlier             []Finding
	timeout             time.Duration
	progress            func(done, total int)
	resync              bool
	causes              bool
}

// InSchemas audits the tables of these schemas only. The default is every schema that the
// role may use, without the system's. A schema that is named and that the role may not use is
// reported.
func InSchemas(schemas ...string) AuditOption {
	return func(s *auditSettings) { s.schemas = append(s.schemas, schemas...) }
}

// InEverySchema audits the schemas that the role may not use, too: their columns are
// findings in [StateUnreadable], with the GRANT that is missing. It has no effect beside
// [InSchemas].
func InEverySchema() AuditOption {
	return func(s *auditSettings) { s.everySchema = true }
}

// OnlyTables audits the tables for which fn is true. It is called with the names of each
// table that a sequence feeds, a partitioned one once, as the server keeps them; with
// [WithUnusedSequences], also with those of a sequence that no table owns.
func OnlyTables(fn func(schema, table string) bool) AuditOption {
	return func(s *auditSettings) { s.only = fn }
}

// WithUnusedSequences adds a finding in [StateUnused] for each sequence that no default,
// identity column, view or trigger draws from. The server does not know what functions
// and programs draw from.
func WithUnusedSequences() AuditOption {
	return func(s *auditSettings) { s.unused = true }
}

// WithNearlyExhausted sets the share of a range, 0 to 1, from which on a column is in
// [StateNearlyExhausted]; the default is 0.9.
func WithNearlyExhausted(share float64) AuditOption {
	return func(s *auditSettings) { s.nearly = share }
}

// WithForecast fills in PerDay and Ends of each [Finding]: from the findings of an earlier
// audit, which may come from its JSON, or without any from the rows that the server's
// statistics have counted.
func WithForecast(earlier ...Finding) AuditOption {
	return func(s *auditSettings) { s.forecast, s.earlier = true, earlier }
}

// WithCauses fills in Cause and Front of each [Finding] that is behind: what lies in front
// of its sequence, and what made it drift, from the rows, the catalog and, where db uses
// a [Plugin], what that remembers. It reads at most 1,000 rows of each of the 50 sequences
// that are furthest behind, by index, within 250 ms each.
func WithCauses() AuditOption {
	return func(s *auditSettings) { s.causes = true }
}

// OfTables audits these tables only. A name is written as GORM knows it, letter case
// kept and with a dot after the schema (Users, billing.invoices), or quoted as
// [Incident].Table and [Finding.QuotedTable] give it ("billing"."invoices"). Without a
// schema the search_path decides. A partition stands for its root, and a root for all of
// its partitions.
func OfTables(tables ...string) AuditOption {
	return func(s *auditSettings) {
		for _, table := range tables {
			s.tables = append(s.tables, tableName(table))
		}
	}
}

// OfModels audits the tables of these models only.
func OfModels(models ...any) AuditOption {
	return func(s *auditSettings) { s.models = append(s.models, models...) }
}

// WithTableTimeout limits the time that is spent on one table; the default is 5
// seconds. The server keeps it, by statement_timeout. A read waits for a lock at most
// 250 ms.
func WithTableTimeout(timeout time.Duration) AuditOption {
	return func(s *auditSettings) { s.timeout = timeout }
}

// OnProgress calls fn, on the goroutine of the audit, whenever some of the columns
// have been read or sequences moved. total grows once, when it is known how many
// sequences have to be moved.
func OnProgress(fn func(done, total int)) AuditOption {
	return func(s *auditSettings) { s.progress = fn }
}

// AndResync moves forward the sequences that the audit finds behind, under the rules
// of a heal: forward only, one healer of a sequence at a time, in the sequence's own
// steps. In a session with DryRun nothing is moved.
func AndResync() AuditOption {
	return func(s *auditSettings) { s.resync = true }
}
