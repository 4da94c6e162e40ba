package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/plugin"
)

// selection is which tables are looked at.
type selection struct {
	schemas, tables, excluded []*pattern
	// names are the schemas that the patterns match.
	names []string
	// partitions are the names of the partitions of a table at the top.
	partitions map[[2]string][][2]string
}

// readSchemas lists the schemas but for the system's and other sessions' temporary ones.
const readSchemas = `SELECT n.nspname::pg_catalog.text FROM pg_catalog.pg_namespace n
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND NOT pg_catalog.pg_is_other_temp_schema(n.oid)
ORDER BY 1`

// readPartitions lists the partitions and the tables at their top: one that is named
// stands for the whole.
const readPartitions = `SELECT n.nspname::pg_catalog.text AS schema, c.relname::pg_catalog.text AS name,
  rn.nspname::pg_catalog.text AS top_schema, r.relname::pg_catalog.text AS top
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class r ON r.oid = pg_catalog.pg_partition_root(c.oid::pg_catalog.regclass)::pg_catalog.oid
JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace
WHERE c.relispartition AND c.relkind IN ('r','p','f')`

// resolve finds the schemas that the patterns match; one that matches none is an error.
func (s *selection) resolve(ctx context.Context, db *gorm.DB) error {
	if len(s.tables) > 0 {
		if err := s.readPartitions(ctx, db); err != nil {
			return err
		}
	}
	if len(s.schemas) == 0 {
		return nil
	}
	var all []string
	if err := db.WithContext(ctx).Raw(readSchemas).Scan(&all).Error; err != nil {
		return err
	}
	for _, name := range all {
		for _, p := range s.schemas {
			if p.matches("", name) {
				p.matched = true
				s.names = append(s.names, name)
			}
		}
	}
	for _, p := range s.schemas {
		if !p.matched {
			return fmt.Errorf("-schema %s matches no schema; there %s", p.text, listed(all, "is", "are"))
		}
	}
	return nil
}

// listed writes names, ten at the most.
func listed(names []string, one, several string) string {
	if len(names) == 0 {
		return one + " none"
	}
	verb, more := several, ""
	if len(names) == 1 {
		verb = one
	}
	if len(names) > 10 {
		more = fmt.Sprintf(" and %d more", len(names)-10)
		names = names[:10]
	}
	return verb + " " + strings.Join(names, ", ") + more
}

func (s *selection) readPartitions(ctx context.Context, db *gorm.DB) error {
	var rows []struct{ Schema, Name, TopSchema, Top string }
	if err := db.WithContext(ctx).Raw(readPartitions).Scan(&rows).Error; err != nil {
		return err
	}
	s.partitions = map[[2]string][][2]string{}
	for _, r := range rows {
		top := [2]string{r.TopSchema, r.Top}
		s.partitions[top] = append(s.partitions[top], [2]string{r.Schema, r.Name})
	}
	return nil
}

// options are the audit's.
func (s *selection) options() []plugin.AuditOption {
	options := []plugin.AuditOption{plugin.InEverySchema(), plugin.InSchemas(s.names...)}
	if len(s.tables) > 0 || len(s.excluded) > 0 {
		options = append(options, plugin.OnlyTables(s.wants))
	}
	return options
}

// wants reports whether a table is looked at, and notes which patterns it matches.
func (s *selection) wants(schema, table string) bool {
	wanted := len(s.tables) == 0
	for _, p := range s.tables {
		if s.isOf(p, schema, table) {
			p.matched, wanted = true, true
		}
	}
	if !wanted {
		return false
	}
	for _, p := range s.excluded {
		if p.matches(schema, table) {
			p.matched, wanted = true, false
		}
	}
	return wanted
}

// isOf reports whether a pattern is that of a table or of one of its partitions.
func (s *selection) isOf(p *pattern, schema, table string) bool {
	return p.matches(schema, table) || slices.ContainsFunc(s.partitions[[2]string{schema, table}], func(name [2]string) bool {
		return p.matches(name[0], name[1])
	})
}

// named reports whether a table was asked for by its very name.
func (s *selection) named(schema, table string) bool {
	return slices.ContainsFunc(s.tables, func(p *pattern) bool { return p.exact && s.isOf(p, schema, table) })
}

// unmatched is an error for each pattern that no table matched, nil without one.
func (s *selection) unmatched(ctx context.Context, db *gorm.DB) error {
	var wrong []error
	var all []relation
	for i, p := range append(s.tables[:len(s.tables):len(s.tables)], s.excluded...) {
		if p.matched {
			continue
		}
		if all == nil {
			if err := db.WithContext(ctx).Raw(readRelations).Scan(&all).Error; err != nil {
				return err
			}
		}
		name := "-table "
		if i >= len(s.tables) {
			name = "-exclude "
		}
		wrong = append(wrong, errors.New(name+p.text+" "+s.why(p, all)))
	}
	return errors.Join(wrong...)
}

// relation is what a name may stand for.
type relation struct{ Schema, Name, Kind string }

// readRelations lists the tables and views but for the system's.
//
//	kind  r table, p partitioned, f foreign, v and m views
const readRelations = `SELECT n.nspname::pg_catalog.text AS schema, c.relname::pg_catalog.text AS name, c.relkind::pg_catalog.text AS kind
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r','p','f','v','m') AND n.nspname NOT IN ('information_schema', 'pg_toast') ORDER BY 1, 2`

// why says why a pattern matched no table that a sequence feeds.
func (s *selection) why(p *pattern, all []relation) string {
	for _, r := range all {
		if !p.matches(r.Schema, r.Name) {
			continue
		}
		name := r.Schema + "." + r.Name
		switch {
		case r.Kind == "v" || r.Kind == "m":
			return fmt.Sprintf("matches the view %s: name the table below it", name)
		case r.Schema == "pg_catalog":
			return fmt.Sprintf("matches the system's table %s, which no sequence feeds", name)
		case len(s.names) > 0 && !slices.Contains(s.names, r.Schema):
			return fmt.Sprintf("matches the table %s, in a schema that -schema leaves out", name)
		}
		return fmt.Sprintf("matches the table %s, of which no column draws its values from a sequence", name)
	}
	for _, r := range all {
		if p.exact && strings.EqualFold(r.Name, p.name) {
			return fmt.Sprintf("matches no table; there is %s.%s", r.Schema, r.Name)
		}
	}
	return "matches no table"
}
