package main

// usage is what -h prints.
const usage = `seqheal finds the PostgreSQL sequences that are behind their tables or nearly used up, and moves forward those behind.

  seqheal [audit] [flags] [table ...]   look, and change nothing
  seqheal fix     [flags] [table ...]   move forward the sequences that are behind
  seqheal sql     [flags] [table ...]   print SQL for psql that does what fix does
  seqheal watch   [flags] [table ...]   look again every minute and print what changed

Examples
  seqheal -dsn postgres://app@db.example.com/shop
  seqheal fix users 'billing.*'            tables by name, in any schema unless one is named; * and ? match
  seqheal sql | psql "$DATABASE_URL"
  seqheal -only behind,critical -csv       of ten thousand columns those that need attention
  seqheal -json > monday.json; seqheal -since monday.json
  seqheal watch -every 30s -quiet

Connection
  -dsn STRING       a URL or "host=… dbname=…"; also as an argument. Without it DATABASE_URL, then the variables
                    of psql: PGHOST, PGPORT, PGUSER, PGDATABASE, PGSERVICE, PGPASSFILE and the others.
                    ~/.pgpass and ~/.pg_service.conf are read

What is looked at
  -schema NAME      this schema only, or a pattern
  -table NAME       this table only, or a pattern: users, billing.invoices, 'billing.*', '"odd.name"'
  -exclude NAME     not this table, or a pattern
                    each may be given more than once, or with commas; one that matches nothing is an error
  -unused           list the sequences that nothing in the catalog draws from, too
  -timeout TIME     time for one table, 5s if not given; a number is seconds

What is reported
  -warn PERCENT     a warning from so much of a range on, 80 if not given
  -critical PERCENT critical from so much on, 95 if not given
  -since FILE       a former run's JSON: values a day since then, and the day on which they end
  -only LEVELS      print these only: exhausted, behind, critical, cycles, warning, unreadable, skipped, in_sync,
                    unused, or attention for the first five; the exit code is that of all
  -quiet            print only what needs attention or could not be looked at: nothing when all is in sync
  -json, -csv       print the findings so
  -every TIME       watch: the time between two looks, 1m if not given
  -dry-run          fix: the same as sql

  -version, -h

Levels
  exhausted    no value is left that the column can hold
  behind       a row lies in front of the sequence: an insert will fail with a duplicate key
  critical     nearly used up: the column's range, or that of a foreign key of a narrower type that points to it
  cycles       the sequence starts again at its end, and a row lies in front of it
  warning      as critical, from -warn on
  unreadable   it could not be looked at
  skipped      its default is more than nextval of one sequence, or the table is a foreign one

Exit codes
  0   all in sync
  1   something is exhausted, behind, critical, warning or cycles over rows, whether or not all could be looked at
  2   an error: the connection, an argument, a name that matches nothing, Ctrl-C before the end
  3   nothing of that, but not everything could be looked at
`
