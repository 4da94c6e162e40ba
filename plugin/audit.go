package plugin

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"
)

// AuditOption narrows what Audit covers or changes how it goes about it.
type AuditOption func(*auditSettings)

type auditSettings struct {
	schemas      []string
	tables       []string
	models       []any
	tableTimeout time.Duration
	progress     func(done, total int)
	resync       bool
}

// InSchemas audits these schemas only; without it all that the role may see.
func InSchemas(schemas ...string) AuditOption {
	return func(s *auditSettings) { s.schemas = append(s.schemas, schemas...) }
}

// OfTables audits these tables only.
func OfTables(tables ...string) AuditOption {
	return func(s *auditSettings) { s.tables = append(s.tables, tables...) }
}

// OfModels audits the tables of these models only.
func OfModels(models ...any) AuditOption {
	return func(s *auditSettings) { s.models = append(s.models, models...) }
}

// WithTableTimeout limits the time that is spent on one table; the default is 2 seconds.
func WithTableTimeout(timeout time.Duration) AuditOption {
	return func(s *auditSettings) { s.tableTimeout = timeout }
}

// OnProgress calls fn now and then with the number of columns done and in all.
func OnProgress(fn func(done, total int)) AuditOption {
	return func(s *auditSettings) { s.progress = fn }
}

// AndResync moves forward the sequences that the audit finds behind.
func AndResync() AuditOption {
	return func(s *auditSettings) { s.resync = true }
}

// Audit reads every column that a sequence feeds.
func Audit(ctx context.Context, db *gorm.DB, options ...AuditOption) ([]Finding, error) {
	return nil, errors.New("not there yet")
}

// Resync moves forward the sequences that are behind.
func Resync(ctx context.Context, db *gorm.DB, tables ...string) ([]Finding, error) {
	return Audit(ctx, db, OfTables(tables...), AndResync())
}
