package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seqheal/seqheal/plugin"
)

// What a person sees, in files to read.
func TestOutput(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, make string
		arguments  []string
	}{
		{"empty", "", nil},
		{"one_column", fine, nil},
		{"two_columns", fine + users, nil},
		{"every_level", everyLevel, []string{"-unused"}},
		{"only_critical", everyLevel, []string{"-only", "critical,in-sync"}},
		{"quiet", everyLevel, []string{"-quiet"}},
		{"quiet_in_sync", fine, []string{"-quiet"}},
		{"explain", fine + users + imported, []string{"-explain"}},
		{"fix", everyLevel, []string{"fix"}},
		{"sql", everyLevel, []string{"sql"}},
		{"sql_nothing", fine, []string{"sql"}},
		{"csv", fine + users + customers, []string{"-csv"}},
		{"json", users + customers, []string{"-json"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t, c.make)
			d.golden(t, c.name, d.run(t, c.arguments...))
		})
	}
}

// The fields are plugin.Finding's under the names that they have there, and the level.
func TestJSONAndCSVHaveTheSameFields(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, everyLevel)
	got := d.run(t, "-json", "-unused")
	var findings []plugin.Finding
	var records []map[string]any
	if err := json.Unmarshal([]byte(got.out), &findings); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(got.out), &records); err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(strings.NewReader(d.run(t, "-csv", "-unused").out)).ReadAll()
	if err != nil || len(lines) != len(records)+1 || len(records) != len(findings) || len(records) < 12 {
		t.Fatalf("%v: %d lines, %d records", err, len(lines), len(records))
	}
	known := map[string]bool{}
	for _, name := range lines[0] {
		known[name] = true
	}
	for i, r := range records {
		for name := range r {
			if !known[name] {
				t.Errorf("-csv has no field %s", name)
			}
		}
		for n, name := range lines[0] {
			want := ""
			switch value := r[name].(type) {
			case nil:
			case float64:
				want = strings.TrimSuffix(fmt.Sprintf("%.0f", value), ".0")
				if name == "used" || value > 1e15 {
					continue
				}
			case []any:
				want = `"public"."sales"."customer_id"`
			default:
				want = fmt.Sprint(value)
			}
			if got := lines[i+1][n]; name != "time" && got != want {
				t.Errorf("%s of %v: CSV %q, JSON %q", name, r["table"], got, want)
			}
		}
		if again, err := json.Marshal(findings[i]); err != nil || !strings.Contains(string(again), `"state"`) {
			t.Errorf("%v: %s", err, again)
		}
	}
}

// A former run tells how fast the values go.
func TestForecastSinceAFormerRun(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, events+fine)
	var former []plugin.Finding
	if err := json.Unmarshal([]byte(d.run(t, "-json").out), &former); err != nil || len(former) != 2 {
		t.Fatalf("%v: %v", err, former)
	}
	then := time.Now().AddDate(0, 0, -100)
	for i := range former {
		former[i].Time = then
		former[i].Last -= 100_000
	}
	text, err := json.Marshal(former)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "former.json")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var now []plugin.Finding
	got := d.run(t, "-json", "-since", name)
	if err := json.Unmarshal([]byte(got.out), &now); err != nil || len(now) != 2 {
		t.Fatalf("%v: %+v", err, got)
	}
	for _, f := range now {
		days := f.Time.Sub(then).Hours() / 24
		if perDay := 100_000 / days; f.Forecast != plugin.ForecastEarlier || f.PerDay < perDay*0.999 || f.PerDay > perDay*1.001 {
			t.Errorf("%s: %v a day, want %v", f.Table, f.PerDay, perDay)
		}
		end := float64(f.Remaining) / f.PerDay
		if f.Table == "events" && (f.Ends.Sub(f.Time).Hours()/24-end > 0.001 || f.Ends.Before(f.Time)) || f.Table == "fine" && !f.Ends.IsZero() {
			t.Errorf("%s ends %v", f.Table, f.Ends)
		}
	}
	if table := d.run(t, "-since", name).out; !strings.Contains(table, "A DAY  ENDS") || !strings.Contains(table, now[0].Ends.UTC().Format("2006-01-02")) {
		t.Error(table)
	}
	// A file of another database, and files that are none.
	other := newDatabase(t, users)
	for content, want := range map[string]string{string(text): "none of its columns is in database shop", "": "no findings", "{": "not the JSON", `[{"table":"x"}]`: "no findings", "[]": "no findings"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := other.run(t, "-since", name); got.code != 2 || !strings.Contains(other.settled(got.diagnostics), want) {
			t.Errorf("%q: %+v, want %s", content, got, want)
		}
	}
	if got := other.run(t, "-since", name+".none"); got.code != 2 || !strings.Contains(got.diagnostics, "no such file") {
		t.Errorf("%+v", got)
	}
}
