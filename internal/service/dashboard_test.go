package service

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

type dashboard struct {
	UID, Title string
	Templating struct{ List []struct{ Name, Type string } }
	Panels     []panel
}

type panel struct {
	ID         int
	Type       string
	Title      string
	Datasource struct{ UID string }
	GridPos    struct{ X, Y, W, H int }
	Targets    []struct{ RefID, Expr string }
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(example, "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// query is a panel's target as Grafana sends it.
func query(expr string) string { return strings.ReplaceAll(expr, "$__rate_interval", "5m") }

// The dashboard is one: panels that do not overlap, about metrics that there are.
func TestDashboard(t *testing.T) {
	t.Parallel()
	d := readDashboard(t)
	if d.UID == "" || d.Title == "" || len(d.Panels) < 8 || len(d.Templating.List) != 1 || d.Templating.List[0].Name != "datasource" {
		t.Errorf("dashboard %+v", d)
	}
	families := exported(t)
	ids, cells := map[int]bool{}, map[[2]int]string{}
	rules := "groups: [{name: queries, rules: [\n"
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" || len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
			t.Errorf("panel %+v", p)
		}
		ids[p.ID] = true
		for cell := range p.GridPos.W * p.GridPos.H {
			at := [2]int{p.GridPos.X + cell%p.GridPos.W, p.GridPos.Y + cell/p.GridPos.W}
			if other := cells[at]; other != "" || at[0] > 23 {
				t.Fatalf("%s lies on %q at %v", p.Title, other, at)
			}
			cells[at] = p.Title
		}
		for _, target := range p.Targets {
			where := fmt.Sprintf("%s, %s", p.Title, target.RefID)
			checkQuery(t, families, where, query(target.Expr))
			rules += fmt.Sprintf("{record: 'q%d%s', expr: %s},\n", p.ID, target.RefID, strconv.Quote(query(target.Expr)))
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "queries.yml"), []byte(rules+"]}]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, ok := promtool(t, dir, "check", "rules", "queries.yml"); !ok {
		t.Error(out)
	}
}

// seen is what Prometheus has of two replicas: one table behind, one nearly used up, a
// first incident, and an audit that fails on one of them.
const seen = `
rule_files: []
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'seqheal_sequences{job="shop", instance="a", state="behind"}', values: '1x30'}
      - {series: 'seqheal_sequences{job="shop", instance="b", state="behind"}', values: '1x30'}
      - {series: 'seqheal_sequences{job="shop", instance="a", state="nearly_exhausted"}', values: '1x30'}
      - {series: 'seqheal_sequences{job="shop", instance="b", state="nearly_exhausted"}', values: '1x30'}
      - {series: 'seqheal_sequences{job="shop", instance="a", state="exhausted"}', values: '1x30'}
      - {series: 'seqheal_sequence_behind{job="shop", instance="a", schema="public", table="users", column="id"}', values: '20x30'}
      - {series: 'seqheal_sequence_behind{job="shop", instance="b", schema="public", table="users", column="id"}', values: '20x30'}
      - {series: 'seqheal_sequence_headroom_ratio{job="shop", instance="a", schema="public", table="users", column="id"}', values: '0.5x30'}
      - {series: 'seqheal_sequence_headroom_ratio{job="shop", instance="b", schema="public", table="users", column="id"}', values: '0.5x30'}
      - {series: 'seqheal_audit_success{job="shop", instance="a"}', values: '0x30'}
      - {series: 'seqheal_audit_success{job="shop", instance="b"}', values: '1x30'}
      - {series: 'seqheal_audit_age_seconds{job="shop", instance="a"}', values: '900x30'}
      - {series: 'seqheal_audit_age_seconds{job="shop", instance="b"}', values: '30x30'}
      - {series: 'seqheal_incidents_total{job="shop", instance="a", schema="public", table="users", outcome="healed"}', values: '_x28 1x3'}
      - {series: 'seqheal_incidents_total{job="shop", instance="b", schema="public", table="users", outcome="failed"}', values: '_x28 2x3'}
    promql_expr_test:
`

// What the panels show of two replicas is what there is, once.
func TestPanelsCountTwoReplicasOnce(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"Sequences behind":     `[{labels: '{}', value: 1}]`,
		"Nearly used up":       `[{labels: '{}', value: 2}]`,
		"Healed, last day":     `[{labels: '{}', value: 1}]`,
		"Not healed, last day": `[{labels: '{}', value: 2}]`,
		"Audit":                `[{labels: '{}', value: 1}]`,
		"Age of the audit":     `[{labels: '{}', value: 30}]`,
		"Incidents by outcome": `[{labels: '{outcome="healed"}', value: 1}, {labels: '{outcome="failed"}', value: 2}]`,
		"Incidents by table":   `[{labels: '{schema="public", table="users"}', value: 3}]`,
		"Values behind":        `[{labels: '{schema="public", table="users", column="id"}', value: 20}]`,
		"Least headroom":       `[{labels: '{schema="public", table="users", column="id"}', value: 0.5}]`,
	}
	text := seen
	for _, p := range readDashboard(t).Panels {
		if samples, ok := want[p.Title]; ok {
			text += fmt.Sprintf("      - {expr: %s, eval_time: 30m, exp_samples: %s}\n", strconv.Quote(query(p.Targets[0].Expr)), samples)
			delete(want, p.Title)
		}
	}
	if len(want) > 0 {
		t.Errorf("there is no panel %v", want)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "panels.yml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, ok := promtool(t, dir, "test", "rules", "panels.yml"); !ok {
		t.Error(out)
	}
}
