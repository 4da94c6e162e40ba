package service

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/seqheal/seqheal/internal/pgtest"
)

// promtool runs promtool in a folder; ok is whether it was content.
func promtool(t *testing.T, dir string, arguments ...string) (out string, ok bool) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("these tests need promtool: apt-get install prometheus")
	}
	command := exec.CommandContext(t.Context(), path, arguments...)
	command.Dir = dir
	text, err := command.CombinedOutput()
	return string(text), err == nil
}

// exported are the metrics of the service after incidents and an audit, so that every
// series is there.
func exported(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	place := database(t)
	p := launch(t, place.DSN)
	imports(place)
	if _, err := p.send(order{Customer: "c", Items: []item{{Product: "p", Quantity: 1}}}); err != nil {
		t.Fatal(err)
	}
	var families map[string]*dto.MetricFamily
	pgtest.Eventually(t, "the first audit", func() bool {
		families = p.metrics()
		return families["seqheal_sequences"] != nil
	})
	return families
}

var (
	metricName = regexp.MustCompile(`\bseqheal_\w+`)
	grouping   = regexp.MustCompile(`\b(?:by|on) \(([^)]*)\)`)
	matchers   = regexp.MustCompile(`(\w+)\s*(?:=~|!=|!~|=)\s*"`)
)

// checkQuery finds each metric and label of a query among those that are exported.
func checkQuery(t *testing.T, families map[string]*dto.MetricFamily, where, query string) {
	t.Helper()
	// What Prometheus adds, and what a program may set.
	known := map[string]bool{"job": true, "instance": true, "database": true}
	for _, name := range metricName.FindAllString(query, -1) {
		family := families[name]
		for _, suffix := range []string{"_bucket", "_count", "_sum"} {
			if base, ok := strings.CutSuffix(name, suffix); ok && family == nil {
				family, known["le"] = families[base], true
			}
		}
		if family == nil {
			t.Errorf("%s: there is no metric %s", where, name)
		}
		for _, label := range family.GetMetric()[0].GetLabel() {
			known[label.GetName()] = true
		}
	}
	var labels []string
	for _, found := range grouping.FindAllStringSubmatch(query, -1) {
		labels = append(labels, strings.Split(found[1], ", ")...)
	}
	for _, found := range matchers.FindAllStringSubmatch(query, -1) {
		labels = append(labels, found[1])
	}
	for _, label := range labels {
		// seqheal:… are the rules' own, with the labels of what they record.
		if !known[label] && metricName.MatchString(query) {
			t.Errorf("%s: no metric has the label %q: %s", where, label, query)
		}
	}
}

// The alert rules are rules, about metrics that there are, and say what their tests say.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	for _, arguments := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		if out, ok := promtool(t, example, arguments...); !ok {
			t.Error(out)
		}
	}
	text, err := os.ReadFile(filepath.Join(example, "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	families := exported(t)
	rules := regexp.MustCompile(`(?m)^      - (alert|record): `).Split(string(text), -1)[1:]
	for _, rule := range rules {
		name, body, _ := strings.Cut(rule, "\n")
		_, query, _ := strings.Cut(body, "expr: ")
		query, _, _ = strings.Cut(query, "labels:")
		checkQuery(t, families, name, query)
	}
	series, err := os.ReadFile(filepath.Join(example, "alerts_test.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile(`series: '([^']*)'`).FindAllStringSubmatch(string(series), -1) {
		checkQuery(t, families, "alerts_test.yml", found[1])
	}
	if len(rules) < 15 {
		t.Errorf("%d rules", len(rules))
	}
}

// Rules that count wrong fail their tests.
func TestTheRuleTestsNotice(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(example, "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile(filepath.Join(example, "alerts_test.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"replicas added up":                 {`max by (database, schema, table, column) (`, `sum by (database, schema, table, column) (`},
		"the end added up":                  {`max by (database) (seqheal_sequences`, `sum by (database) (seqheal_sequences`},
		"a first value lost":                {`(min_over_time(seqheal_incidents_total[15m]) unless`, `(min_over_time(seqheal_incidents_total[15m]) * 0 unless`},
		"old incidents counted as new":      {` unless last_over_time(seqheal_incidents_total[5m] offset 15m)`, ``},
		"a replica that ended forgotten":    {`last_over_time(seqheal_incidents_total[15m]) * 0`, `seqheal_incidents_total * 0`},
		"one replica's audit failing":       {`max by (database) (seqheal_audit_success) == 0`, `min by (database) (seqheal_audit_success) == 0`},
		"an old audit counted":              {`seqheal_sequence_behind unless on (job, instance, database) (seqheal_audit_age_seconds > scalar(seqheal:audit_age_seconds:warning))`, `seqheal_sequence_behind`},
		"another database's audit":          {`on (job, instance, database)`, `on (job, instance)`},
		"a forecast from an hour":           {`ratio:min[1d]`, `ratio:min[1h]`},
		"a forecast of what has just begun": {"\n            and seqheal:sequence_headroom_ratio:min offset 6h", ""},
		"a threshold elsewhere":             {`expr: vector(0.1)`, `expr: vector(0.001)`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wrong := strings.ReplaceAll(string(text), change[0], change[1])
			if wrong == string(text) {
				t.Fatalf("the rules lack %s", change[0])
			}
			dir := t.TempDir()
			for file, content := range map[string]string{"alerts.yml": wrong, "alerts_test.yml": string(tests)} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if out, ok := promtool(t, dir, "test", "rules", "alerts_test.yml"); ok {
				t.Errorf("the tests do not notice: %s", out)
			} else if !strings.Contains(out, "FAILED") {
				t.Error(out)
			}
		})
	}
}
