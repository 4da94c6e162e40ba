package plugin

import (
	"fmt"
	"log/slog"

	"github.com/seqheal/seqheal/internal/cause"
)

// CauseKind is what made a sequence drift. The codes are stable.
type CauseKind string

const (
	// CauseSetBack: this process has seen the sequence at a higher value than it has now.
	// setval, ALTER SEQUENCE ... RESTART or a restore has set it back.
	CauseSetBack CauseKind = "set_back"
	// CauseNamedIDs: this process itself has stored rows in front of the sequence, with ids
	// that it named in INSERTs through GORM.
	CauseNamedIDs CauseKind = "named_ids"
	// CauseReplication: the table is in a subscription of logical replication, which stores
	// rows and moves no sequence.
	CauseReplication CauseKind = "replication"
	// CauseBulk: the rows in front came in few transactions or at one time: an import or a
	// restore.
	CauseBulk CauseKind = "bulk"
	// CauseUnknown: nothing proves one of these. Evidence says what could not be looked at.
	CauseUnknown CauseKind = "unknown"
)

// Cause is what made a sequence drift.
type Cause struct {
	Kind CauseKind `json:"kind"`
	// Evidence is a sentence that says what proves it, or why there is no proof.
	Evidence string `json:"evidence"`
}

// String is the kind and the evidence.
func (c Cause) String() string { return fmt.Sprintf("%s: %s", c.Kind, c.Evidence) }

// Front are the rows that lie in front of a sequence: their ids are values that it has not given
// yet, so that inserts collide with them.
type Front struct {
	// First and Last are the ids of the first and the furthest of them, 0 where Rows is.
	First, Last int64
	// Rows is how many they are, exact up to 1,000, and More is true where there are more.
	// It is 0 where they were not looked at.
	Rows int64
	More bool
	// Select is a statement that shows them, ready to paste; empty where it is not known
	// where they are.
	Select string
}

func (f Front) record() (attrs []slog.Attr) {
	if f.Rows > 0 {
		attrs = append(attrs, slog.Int64("front_first", f.First), slog.Int64("front_last", f.Last), slog.Int64("front_rows", f.Rows), slog.Bool("front_more", f.More))
	}
	if f.Select != "" {
		attrs = append(attrs, slog.String("front_select", f.Select))
	}
	return attrs
}

// maxCauses is how many kinds of causes can hold at once.
const maxCauses = 4

// causes are the causes that hold, the strongest first. It is an array so that an
// [Incident] can be compared.
type causes [maxCauses]Cause

func (c causes) list() []Cause {
	for n := range c {
		if c[n].Kind == "" {
			return append([]Cause(nil), c[:n]...)
		}
	}
	return append([]Cause(nil), c[:]...)
}

// causesWith are all causes, the first alone where a program has set that itself.
func causesWith(first Cause, all causes) []Cause {
	switch {
	case all[0] == first:
		return all.list()
	case first.Kind == "":
		return nil
	}
	return []Cause{first}
}

// recordOf names the strongest cause, and all where several hold.
func recordOf(all []Cause) (attrs []slog.Attr) {
	if len(all) > 0 {
		attrs = append(attrs, slog.String("cause", string(all[0].Kind)), slog.String("evidence", all[0].Evidence))
	}
	if len(all) > 1 {
		attrs = append(attrs, slog.Any("causes", all))
	}
	return attrs
}

// explained are the fields that recordOf and the record of a Front write, to be read.
type explained struct {
	Kind        CauseKind `json:"cause"`
	Evidence    string
	All         []Cause `json:"causes"`
	FrontFirst  int64   `json:"front_first"`
	FrontLast   int64   `json:"front_last"`
	FrontRows   int64   `json:"front_rows"`
	FrontMore   bool    `json:"front_more"`
	FrontSelect string  `json:"front_select"`
}

func (e explained) cause() (first Cause, all causes, front Front) {
	all[0] = Cause{e.Kind, e.Evidence}
	copy(all[:], e.All)
	return all[0], all, Front{First: e.FrontFirst, Last: e.FrontLast, Rows: e.FrontRows, More: e.FrontMore, Select: e.FrontSelect}
}

func causesOf(found []cause.Cause) (c causes) {
	for n, one := range found[:min(len(found), maxCauses)] {
		c[n] = Cause{Kind: CauseKind(one.Kind), Evidence: one.Evidence}
	}
	return c
}

func frontOf(f cause.Front) Front {
	return Front{First: f.First, Last: f.Last, Rows: f.Rows, More: f.More, Select: f.Select}
}

// adviceByCause is the next step after a heal.
var adviceByCause = map[CauseKind]string{
	CauseSetBack: "find what sets this sequence back (setval, ALTER SEQUENCE ... RESTART, TRUNCATE ... RESTART IDENTITY, a restore) " +
		"and let it end with plugin.Resync",
	CauseNamedIDs:    "let that code leave the id out, or use plugin.WithPrevention, with which such inserts move the sequence",
	CauseReplication: "run plugin.Resync when replication ends, before the application writes here",
	CauseBulk:        "find that import or restore and let it end with plugin.Resync",
}
