// Package compat holds the tests of seqheal that need drivers and plugins which
// the main module must not depend on: pgx v4, lib/pq, dbresolver and others of GORM's world,
// and those through real programs: PgBouncer, Pgpool-II, HAProxy, PGlite. It
// is a module of its own for that reason, and has no code but tests.
package compat
