package herd

import (
	"context"
	"errors"
	"sync/atomic"
)

// Importer is a program that stores rows with explicit ids beside the herd: one
// statement, sent again and again. $1 goes on by importBatch from one past the
// furthest id there was at its start.
type Importer string

// importBatch is how many rows a transaction of an importer brings at most.
const importBatch = 50

const (
	// CountsByItself brings ids from a file: they go on from the furthest id, 50 a
	// transaction, whatever the application does.
	CountsByItself Importer = `
INSERT INTO rows (id, name)
SELECT g, 'imported ' || g FROM generate_series($1::int8, $1::int8 + 49) g
ON CONFLICT DO NOTHING`
	// TakesMaxPlusOne is the program that computes its next id from the table.
	TakesMaxPlusOne Importer = `
INSERT INTO rows (id, name)
SELECT m.id, 'imported ' || m.id FROM (SELECT max(id) + 1 AS id FROM rows WHERE $1::int8 > 0) m
ON CONFLICT DO NOTHING`
	// FollowsTheSequence takes the 50 ids that the herd would draw next, for ever.
	FollowsTheSequence Importer = `
INSERT INTO rows (id, name)
SELECT s.last_value + g, 'imported ' || (s.last_value + g)
FROM rows_id_seq s, generate_series(2, 51) g WHERE $1::int8 > 0
ON CONFLICT DO NOTHING`
)

// Import commits what the importer brings, without pause, until stop is called;
// stop returns the number of rows that it stored. Ids that the application has
// taken meanwhile are left out.
func Import(ctx context.Context, dsn string, importer Importer) (stop func() (int64, error), err error) {
	pool, session, err := openOne(ctx, dsn)
	if err != nil {
		return nil, err
	}
	var next, stored int64
	if err := session.QueryRowContext(ctx, "SELECT max(id) + 1 FROM rows").Scan(&next); err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	batch := func() error {
		result, err := session.ExecContext(ctx, string(importer), next)
		if err != nil {
			return err
		}
		rows, err := result.RowsAffected()
		stored += rows
		next += importBatch
		return err
	}
	var ended atomic.Bool
	done := make(chan error, 1)
	go func() {
		var err error
		for err == nil && !ended.Load() {
			err = batch()
		}
		done <- errors.Join(err, session.Close(), pool.Close())
	}()
	return func() (int64, error) {
		ended.Store(true)
		err := <-done
		return stored, err
	}, nil
}
