package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/seqheal/seqheal/internal/catalog"
)

// record is a finding as JSON has it: plugin.Finding's fields and the level.
func record(f graded) (map[string]json.RawMessage, error) {
	if f.Err != nil {
		f.Err = errors.New(explained(f)) // which names flags and no options of Go's
	}
	text, err := json.Marshal(f.Finding)
	if err != nil {
		return nil, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	fields["level"] = json.RawMessage(strconv.Quote(f.level.String()))
	return fields, nil
}

// printJSON writes an array, for watch an object a line.
func (s *session) printJSON(findings []graded) error {
	encoder := json.NewEncoder(s.out)
	records := make([]map[string]json.RawMessage, len(findings))
	for i, f := range findings {
		var err error
		if records[i], err = record(f); err != nil {
			return err
		}
		if s.command == commandWatch {
			if err := encoder.Encode(records[i]); err != nil {
				return err
			}
		}
	}
	if s.command == commandWatch {
		return nil
	}
	encoder.SetIndent("", "  ")
	return encoder.Encode(records)
}

// csvFields are the fields of -csv, named as in JSON.
var csvFields = []string{
	"level", "schema", "table", "column", "type", "sequence", "last", "furthest", "behind", "used", "limit", "remaining",
	"state", "reason", "error", "increment", "cache", "cycle", "limited_by_column", "left", "cycle_ahead", "narrow_foreign_keys",
	"estimated", "forecast", "per_day", "ends", "moved", "from", "to", "time",
	"cause", "evidence", "causes", "front_first", "front_last", "front_rows", "front_more", "front_select", "subscribed",
}

// printCSV writes a line with the names of the fields and one for each finding.
func (s *session) printCSV(findings []graded) error {
	w := csv.NewWriter(s.out)
	if !s.headed {
		s.headed = true
		_ = w.Write(csvFields)
	}
	for _, f := range findings {
		fields, err := record(f)
		if err != nil {
			return err
		}
		line := make([]string, len(csvFields))
		for i, name := range csvFields {
			line[i] = text(fields[name])
		}
		line[21] = narrowNames(f)
		_ = w.Write(line)
	}
	w.Flush()
	return w.Error()
}

// text is a JSON value without quotes.
func text(value json.RawMessage) string {
	var s string
	if json.Unmarshal(value, &s) == nil {
		return s
	}
	return string(value)
}

// narrowNames are the narrower foreign keys, as SQL, with spaces between.
func narrowNames(f graded) string {
	names := make([]string, len(f.Narrow))
	for i, key := range f.Narrow {
		names[i] = catalog.Quote(key.Schema, key.Table, key.Column)
	}
	return strings.Join(names, " ")
}

// bar is a progress bar on a terminal.
type bar struct {
	out   screen
	drawn time.Time
}

func (b *bar) show(done, total int) {
	const cells, often = 40, 50 * time.Millisecond
	if total == 0 || done < total && time.Since(b.drawn) < often {
		return
	}
	b.drawn = time.Now()
	full := cells * done / total
	_, _ = b.out.Write([]byte("\r" + strings.Repeat("█", full) + strings.Repeat("░", cells-full) + " " + count(int64(done)) + " of " + count(int64(total)) + " "))
}

func (b *bar) clear() { _, _ = b.out.Write([]byte("\r\x1b[K")) }
