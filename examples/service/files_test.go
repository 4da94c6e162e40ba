package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
	"net/http"
)

// watched is the service after incidents, so that every series is there.
func watched(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	s := start(t)
	if err := importRows(t.Context(), s.db, 10); err != nil {
		t.Fatal(err)
	}
	order := Order{Customer: "c", Items: []Item{{Product: "p", Quantity: 1}}}
	for range 3 {
		if _, err := sendOrder(t.Context(), http.DefaultClient, s.at, order); err != nil {
			t.Fatal(err)
		}
	}
	if s.healing.Stats().Healed == 0 {
		t.Fatal("nothing was healed")
	}
	return s.metrics()
}

// check parses an expression and finds each of its metrics and labels among those
// that the service has.
func check(t *testing.T, families map[string]*dto.MetricFamily, where, text string) {
	t.Helper()
	expression, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return
	}
	selectors := parser.ExtractSelectors(expression)
	if len(selectors) == 0 {
		t.Errorf("%s reads no metric", where)
	}
	known := map[string]bool{}
	for _, matchers := range selectors {
		name := ""
		for _, m := range matchers {
			if m.Name == model.MetricNameLabel {
				name = m.Value
			}
		}
		family := families[name]
		if family == nil {
			family = families[strings.TrimSuffix(name, "_bucket")]
			known["le"] = family != nil
		}
		if family == nil {
			t.Errorf("%s: there is no metric %s", where, name)
			continue
		}
		for _, label := range family.GetMetric()[0].GetLabel() {
			known[label.GetName()] = true
		}
		for _, m := range matchers {
			if m.Name != model.MetricNameLabel && !known[m.Name] {
				t.Errorf("%s: %s has no label %s", where, name, m.Name)
			}
		}
	}
	parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
		if a, ok := node.(*parser.AggregateExpr); ok {
			for _, label := range a.Grouping {
				if !known[label] {
					t.Errorf("%s: no metric has the label %s", where, label)
				}
			}
		}
		return nil
	})
}

// The alert rules are rules, about metrics that there are.
func TestAlerts(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	families := watched(t)
	seen := map[string]bool{}
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			if rule.Alert == "" || seen[rule.Alert] || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" ||
				!slices.Contains([]string{"warning", "critical"}, rule.Labels["severity"]) {
				t.Errorf("rule %+v", rule)
			}
			seen[rule.Alert] = true
			check(t, families, rule.Alert, rule.Expr)
		}
	}
	if len(seen) != 7 {
		t.Errorf("%d rules", len(seen))
	}
}

// The dashboard is one: panels that do not overlap, about metrics that there are.
func TestDashboard(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		UID, Title string
		Templating struct{ List []struct{ Name, Type string } }
		Panels     []struct {
			ID         int
			Type       string
			Title      string
			Datasource struct{ UID string }
			GridPos    struct{ X, Y, W, H int }
			Targets    []struct{ RefID, Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	if dashboard.UID == "" || dashboard.Title == "" || len(dashboard.Panels) < 8 || len(dashboard.Templating.List) != 1 || dashboard.Templating.List[0].Name != "datasource" {
		t.Errorf("dashboard %+v", dashboard)
	}
	families := watched(t)
	ids, cells := map[int]bool{}, map[[2]int]string{}
	for _, panel := range dashboard.Panels {
		if ids[panel.ID] || panel.Title == "" || len(panel.Targets) == 0 || panel.Datasource.UID != "${datasource}" {
			t.Errorf("panel %+v", panel)
		}
		ids[panel.ID] = true
		for x := range panel.GridPos.W {
			for y := range panel.GridPos.H {
				cell := [2]int{panel.GridPos.X + x, panel.GridPos.Y + y}
				if other := cells[cell]; other != "" || cell[0] > 23 {
					t.Fatalf("%s lies on %q at %v", panel.Title, other, cell)
				}
				cells[cell] = panel.Title
			}
		}
		for _, target := range panel.Targets {
			check(t, families, fmt.Sprintf("%s, %s", panel.Title, target.RefID), strings.ReplaceAll(target.Expr, "$__rate_interval", "5m"))
		}
	}
}
