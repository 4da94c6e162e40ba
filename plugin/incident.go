package plugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/seqheal/seqheal/internal/heal"
)

// Outcome is how an [Incident] ended.
type Outcome string

const (
	// Healed: the plugin moved the sequence past the rows and sent the insert again.
	Healed Outcome = "healed"
	// AlreadyHealed: the insert collided, and when the plugin read the sequence it was
	// past the rows: another process or insert had advanced it.
	AlreadyHealed Outcome = "already_healed"
	// Refused: the plugin decided not to move the sequence; Reason says why. The insert
	// failed, or did what it does without the plugin.
	Refused Outcome = "refused"
	// Failed: the plugin tried and could not; Reason says why. The insert failed.
	Failed Outcome = "failed"
)

// Incident is one insert that collided because a sequence had drifted. [OnIncident] and the
// log receive each once. It implements [slog.LogValuer] and [json.Marshaler].
type Incident struct {
	Time    time.Time
	Outcome Outcome
	Reason  Reason // empty unless Refused or Failed
	// Table, Sequence and Column are quoted as SQL, the first two with schema.
	Table, Sequence, Column string
	// Constraint is the name of the key that collided.
	Constraint string
	// Key is the id that was taken; KeyKnown is false where the server did not name it.
	Key      int64
	KeyKnown bool
	// From and To are the sequence's last value before and after. They are 0
	// when the sequence was not drawn from.
	From, To int64
	// Behind is how many values the sequence had to give to pass the furthest row,
	// 0 when it was past it already or was not drawn from.
	Behind int64
	// OtherColumns is how many further columns, of whatever tables, draw from the
	// same sequence: their inserts collide with the same rows. [Audit] names them.
	OtherColumns int64
	// Left is a value near the end of the range that was left in place, when
	// moving past it would have used up the sequence; 0 without one.
	Left int64
	// Rows is the number of rows of the INSERT.
	Rows int
	// Guard is how the collision was found: "none" outside a transaction or by a row that
	// the caller's own DO NOTHING dropped, "conflict" by the ON CONFLICT DO NOTHING that the
	// plugin adds, "savepoint" by an error in one, "preflight" by a question before or after
	// the statement or by rows that did not come back, "off" with [GuardOff].
	Guard string
	// Silent is true when the statement would have changed or dropped a row
	// without an error.
	Silent bool
	// Rounds is how many rounds the heal took, those that failed included.
	Rounds int
	// Duration is what the incident added to the insert.
	Duration time.Duration
	// Err is why it was refused or failed, or what the insert itself came to
	// after the sequence was healed.
	Err error
	// Caller is the line of the application that sent the insert, "file:line": the
	// innermost one outside GORM, its plugins and seqheal. Empty where there is none.
	Caller string
	// Cause is what made the sequence drift, as far as that is proved; [Incident.Causes]
	// has every cause that is.
	Cause Cause
	// Front are the rows that lay in front of the sequence.
	Front Front

	effect string // what Silent is short for
	causes causes
	pc     uintptr // of Caller
}

// Causes are all causes that are proved, the strongest first; one of [CauseUnknown] where
// none is.
func (i Incident) Causes() []Cause { return causesWith(i.Cause, i.causes) }

// SchemaAndTable returns Table as the names that the server keeps, unquoted, as they
// are in Finding.Schema and Finding.Table. The schema is empty where Table has none.
func (i Incident) SchemaAndTable() (schema, table string) {
	first, rest := unquote(i.Table)
	if second, ok := strings.CutPrefix(rest, "."); ok {
		table, _ = unquote(second)
		return first, table
	}
	return "", first
}

// unquote reads one identifier from the start of SQL text, and returns what follows it.
func unquote(text string) (name, rest string) {
	quoted, ok := strings.CutPrefix(text, `"`)
	if !ok {
		end := strings.IndexByte(text, '.')
		if end < 0 {
			return text, ""
		}
		return text[:end], text[end:]
	}
	for {
		part, after, _ := strings.Cut(quoted, `"`)
		name += part
		if quoted, ok = strings.CutPrefix(after, `"`); !ok {
			return name, after
		}
		name += `"`
	}
}

// record is the one list of an incident's field names.
func (i Incident) record() []slog.Attr {
	attrs := []slog.Attr{
		slog.Time("time", i.Time),
		slog.String("outcome", string(i.Outcome)),
		slog.String("table", i.Table),
		slog.String("sequence", i.Sequence),
		slog.String("column", i.Column),
		slog.String("constraint", i.Constraint),
		slog.Int64("from", i.From),
		slog.Int64("to", i.To),
		slog.Int64("behind", i.Behind),
		slog.Int64("other_columns", i.OtherColumns),
		slog.Int("rows", i.Rows),
		slog.String("guard", i.Guard),
		slog.Bool("silent", i.Silent),
		slog.Int("rounds", i.Rounds),
		slog.Float64("duration_ms", float64(i.Duration.Microseconds())/1000),
	}
	if i.Reason != "" {
		attrs = append(attrs, slog.String("reason", string(i.Reason)))
	}
	if i.KeyKnown {
		attrs = append(attrs, slog.Int64("key", i.Key))
	}
	if i.Left != 0 {
		attrs = append(attrs, slog.Int64("left", i.Left))
	}
	if i.Err != nil {
		attrs = append(attrs, slog.String("error", i.Err.Error()))
	}
	if i.Caller != "" {
		attrs = append(attrs, slog.String("caller", i.Caller))
	}
	attrs = append(attrs, recordOf(i.Causes())...)
	attrs = append(attrs, i.Front.record()...)
	return append(attrs, slog.String("advice", i.Advice()))
}

// LogValue groups the incident's fields under their snake_case names.
func (i Incident) LogValue() slog.Value { return slog.GroupValue(i.record()...) }

// MarshalJSON writes the same fields under the same names.
func (i Incident) MarshalJSON() ([]byte, error) {
	fields := map[string]any{}
	for _, attr := range i.record() {
		fields[attr.Key] = attr.Value.Any()
	}
	return json.Marshal(fields)
}

// UnmarshalJSON reads what MarshalJSON writes; Err is then a plain error.
func (i *Incident) UnmarshalJSON(text []byte) error {
	var r struct {
		Time                                time.Time
		Outcome                             Outcome
		Reason                              Reason
		Table, Sequence, Column, Constraint string
		Key                                 *int64
		From, To, Behind, Left              int64
		OtherColumns                        int64 `json:"other_columns"`
		Rows, Rounds                        int
		Guard, Error, Caller                string
		Silent                              bool
		Milliseconds                        float64 `json:"duration_ms"`
		explained
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return err
	}
	*i = Incident{
		Time: r.Time, Outcome: r.Outcome, Reason: r.Reason, Table: r.Table, Sequence: r.Sequence, Column: r.Column, Constraint: r.Constraint,
		KeyKnown: r.Key != nil, From: r.From, To: r.To, Behind: r.Behind, Left: r.Left, OtherColumns: r.OtherColumns, Rows: r.Rows,
		Rounds: r.Rounds, Guard: r.Guard, Silent: r.Silent, Duration: time.Duration(r.Milliseconds * float64(time.Millisecond)), Caller: r.Caller,
	}
	i.Cause, i.causes, i.Front = r.cause()
	if r.Key != nil {
		i.Key = *r.Key
	}
	if r.Error != "" {
		i.Err = errors.New(r.Error)
	}
	return nil
}

// String is the log line: what happened, where, how far behind, who else is
// affected, who sent the insert, what caused it, and what to do.
func (i Incident) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seqheal: %s: table %s, column %s, sequence %s", i.headline(), i.Table, i.Column, i.Sequence)
	if i.From != i.To {
		fmt.Fprintf(&b, ", %d → %d", i.From, i.To)
	}
	if i.Behind > 0 {
		fmt.Fprintf(&b, ", %d behind", i.Behind)
	}
	if i.KeyKnown {
		fmt.Fprintf(&b, ", key %d was taken", i.Key)
	}
	if i.Left != 0 {
		fmt.Fprintf(&b, ", a row at %d near the end of the range was left in place", i.Left)
	}
	if i.Silent {
		fmt.Fprintf(&b, ", the statement %s without an error", i.effect)
	}
	if i.OtherColumns > 0 {
		fmt.Fprintf(&b, ", %d more column(s) draw from the sequence", i.OtherColumns)
	}
	fmt.Fprintf(&b, "; %d row(s), guard %s, %d round(s), %s", i.Rows, i.Guard, i.Rounds, i.Duration.Round(10*time.Microsecond))
	if i.Err != nil {
		fmt.Fprintf(&b, "; %v", i.Err)
	}
	if i.Caller != "" {
		b.WriteString("; sent by " + i.Caller)
	}
	if i.Cause.Kind != "" && (i.Cause.Kind != CauseUnknown || i.Outcome == Healed) {
		fmt.Fprintf(&b, "; cause %s", i.Cause)
		for _, other := range i.Causes()[1:] {
			fmt.Fprintf(&b, ", also %s", other.Kind)
		}
	}
	if !i.errNamesTheNextStep() {
		b.WriteString("; " + i.Advice())
	}
	return b.String()
}

func (i Incident) headline() string {
	switch i.Outcome {
	case Healed:
		return "healed a drifted sequence"
	case AlreadyHealed:
		return "another session had already advanced the sequence"
	case Refused:
		return "refused to move a drifted sequence (" + string(i.Reason) + ")"
	default:
		return "could not heal a drifted sequence (" + string(i.Reason) + ")"
	}
}

// incidentOf is the one place where the engine's incident becomes the public one.
func incidentOf(found heal.Incident) Incident {
	causes := causesOf(found.Causes)
	outcome := map[heal.Outcome]Outcome{heal.AlreadyHealed: AlreadyHealed, heal.Healed: Healed, heal.Refused: Refused, heal.Failed: Failed}
	return Incident{
		Time: found.Time, Outcome: outcome[found.Outcome], Reason: Reason(found.Reason),
		Table: found.Table, Sequence: found.Sequence, Column: found.Column, Constraint: found.Constraint,
		Key: found.Key.Value, KeyKnown: found.Key.Found, From: found.From, To: found.To, Behind: found.Behind,
		OtherColumns: found.OtherColumns, Left: found.Left.Value, Rows: found.Rows, Guard: string(found.Guard),
		Silent: found.Effect != "", Rounds: found.Rounds, Duration: found.Duration, Err: found.Err,
		Caller: found.Sender.String(), Cause: causes[0], Front: frontOf(found.Front),
		effect: string(found.Effect), causes: causes, pc: found.Sender.PC,
	}
}
