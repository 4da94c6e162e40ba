package plugin_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// An incident, and Stats with its last one, are read from the JSON that they write.
func TestIncident_readsItsJSON(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(drifted)
	var seen incidents
	healing := plugin.New(seen.option())
	if err := place.Open(nil, healing).Create(&user{Name: "new"}).Error; err != nil {
		t.Fatal(err)
	}
	refused := plugin.Incident{
		Time: time.Now(), Outcome: plugin.Refused, Reason: plugin.ReasonCycle, Table: `"s"."t"`, Sequence: `"s"."q"`, Column: `"id"`, Constraint: "t_pkey",
		Key: 7, KeyKnown: true, From: 1, To: 2, Behind: 3, OtherColumns: 4, Left: 5, Rows: 6, Guard: "savepoint", Silent: true, Rounds: 2,
		Duration: 1500 * time.Microsecond, Err: errors.New("it cycles"), Caller: "main.go:7", Cause: plugin.Cause{Kind: plugin.CauseBulk, Evidence: "20 rows"},
		Front: plugin.Front{First: 1, Last: 20, Rows: 20, More: true, Select: "SELECT 1"},
	}
	for _, i := range []plugin.Incident{seen.one(t), refused} {
		text, err := json.Marshal(i)
		if err != nil {
			t.Fatal(err)
		}
		var back plugin.Incident
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if again, err := json.Marshal(back); err != nil || string(again) != string(text) {
			t.Errorf("%v\n%s\n%s", err, text, again)
		}
		if back.Err == nil != (i.Err == nil) || back.Front != i.Front || back.Key != i.Key || back.Duration != i.Duration.Round(time.Microsecond) && back.Duration != i.Duration.Truncate(time.Microsecond) {
			t.Errorf("%+v", back)
		}
	}
	text, err := json.Marshal(healing.Stats())
	if err != nil {
		t.Fatal(err)
	}
	var stats plugin.Stats
	if err := json.Unmarshal(text, &stats); err != nil || stats.Healed != 1 {
		t.Errorf("%v: %+v from %s", err, stats, text)
	}
}
