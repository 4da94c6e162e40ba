package main

// usage is what -h prints.
const usage = `seqheal finds the PostgreSQL sequences that are behind their tables or nearly used up, and moves forward those behind.

  seqheal [audit] [flags] [table ...]   look, and change nothing
  seqheal fix     [flags] [table ...]   move the sequences that are behind
  seqheal sql     [flags] [table ...]   print SQL for psql that does what fix does
  seqheal watch   [flags] [table ...]   look again every minute and print what changed, until Ctrl-C
  seqheal page    [flags] [table ...]   serve a web page of the sequences, until Ctrl-C
  seqheal check   [-yes]                try in a table of its own what the plugin heals on this server, as this role and
                                        through this pooler; it asks before it creates the table, and drops it

Examples
  seqheal -dsn postgres://app@db.example.com/shop
  seqheal fix users 'billing.*'            tables by name, in any schema unless one is named; * and ? are wildcards
  seqheal sql | psql "$DATABASE_URL"
  seqheal -only attention -csv             of ten thousand columns, those that need attention
  seqheal -json > monday.json; seqheal -since monday.json
  seqheal watch -every 30s -quiet

Connection
  -dsn STRING        a URL or "host=… dbname=…"; may also be given as an argument. Without it, DATABASE_URL; without
                     that, psql's variables: PGHOST, PGPORT, PGUSER, PGDATABASE, PGSERVICE, PGPASSFILE and so on.
                     ~/.pgpass and ~/.pg_service.conf are read

What to look at
  -schema NAME       only this schema; a pattern is allowed
  -table NAME        only this table; a pattern is allowed: users, billing.invoices, 'billing.*', '"odd.name"'
  -exclude NAME      not this table; a pattern is allowed
                     -schema, -table and -exclude may be repeated, or list names with commas.
                     A name or pattern that matches nothing is an error
  -unused            also list the sequences that nothing in the catalog draws from
  -explain           also look for what made the sequences drift that are behind: what lies in front of each, and what
                     proves an import, a restore or replication. Reads at most 1,000 rows of each of 50
  -timeout TIME      time limit for one table (default 5s); a plain number is in seconds

What to report
  -warn PERCENT      warn when this much of a range is used (default 80)
  -critical PERCENT  critical when this much is used (default 95)
  -since FILE        the JSON of an earlier run: adds values per day since then and the date on which they run out.
                     Without it, the server's statistics give both once they cover a day
  -only LEVELS       print only these levels, or attention for the first five; the exit code still covers all
  -quiet             print only what needs attention or could not be looked at; nothing when all is in sync
  -json, -csv        print the findings as JSON or CSV
  -every TIME        watch: time between two looks (default 1m)
  -dry-run           fix: the same as sql
  -yes               check: do not ask
  -listen ADDRESS    page: where to serve it (default 127.0.0.1:8090). The page moves nothing, and has no login

  -version, -h

Levels
  exhausted    the sequence has no value left that the column can hold
  behind       a row lies in front of the sequence: an insert will fail with a duplicate key
  critical     nearly used up: the column's range, or that of a foreign key of a narrower type
  cycles       the sequence starts again at its end, and a row lies in front of it
  warning      as critical, from -warn on
  unreadable   it could not be looked at
  skipped      its default is more than nextval of one sequence
  in_sync      none of these
  unused       nothing in the catalog draws from the sequence (with -unused)

Exit codes
  0   all in sync
  1   something needs attention: exhausted, behind, critical, cycles or warning, even if not everything could be looked at
  2   an error: no connection, a wrong argument, a name that matches nothing, Ctrl-C before the end
  3   nothing needs attention, but not everything could be looked at
  check ends with 0 when every kind of insert heals, 1 when one does not, 2 when it could not be tried
  watch ends with the code of its last look, page with 0
`
