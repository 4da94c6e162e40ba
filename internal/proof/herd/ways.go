package herd

import (
	"context"

	"gorm.io/gorm"
)

// Way is how a program copes with a duplicate key.
type Way string

const (
	// Nothing: the insert fails.
	Nothing Way = "no plugin"
	// SetvalMax: the article's statement, then the insert (or the caller's whole
	// transaction) once more.
	SetvalMax Way = "setval(max(id)), retry once"
	// SetvalGreatest: as often advised, so that it never steps back; then once more.
	SetvalGreatest Way = "setval(greatest(nextval, max)), retry once"
	// Seqheal: the plugin.
	Seqheal Way = "seqheal"
)

// The statements that applications send after a 23505, on a connection of the
// pool. PostgreSQL computes the maximum and sets in one statement, and other
// sessions draw and insert between the two.
const (
	setvalMax      = `SELECT setval('rows_id_seq', coalesce(max(id), 1)) FROM rows`
	setvalGreatest = `SELECT setval('rows_id_seq', greatest(nextval('rows_id_seq'), (SELECT max(id) FROM rows)))`
)

func (w Way) retries() bool { return w == SetvalMax || w == SetvalGreatest }

func (w Way) resync(ctx context.Context, db *gorm.DB) error {
	statement := setvalMax
	if w == SetvalGreatest {
		statement = setvalGreatest
	}
	return db.WithContext(ctx).Exec(statement).Error
}
