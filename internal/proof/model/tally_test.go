package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
)

// counts is how often things happened in all the programs: a model that never
// meets drift, or never a kind of statement, proves nothing.
type counts struct {
	mutex sync.Mutex
	of    map[string]int
}

var tally = counts{of: map[string]int{}}

func (c *counts) add(names ...string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for _, name := range names {
		c.of[name]++
	}
}

// enough is how many programs must have met everything at least once.
const enough = 2_000

// tooLate is a second connection that a busy machine did not give in time, in SERIALIZABLE,
// so that the caller gets 40001 and tries again.
const tooLate = "no second connection in time"

// required is what must have happened.
func required() (names []string) {
	for _, k := range kinds {
		names = append(names, "kind "+k.name, "healed kind "+k.name)
	}
	for _, f := range []form{oneStruct, slice, pointers, batches, oneMap, mapList, selected} {
		names = append(names, "form "+string(f), "healed form "+string(f))
	}
	for _, on := range []conflict{none, doNothing, nothingByKey, updateAll, updateByKey, updateByMail} {
		names = append(names, "conflict "+string(on), "healed conflict "+string(on))
	}
	for _, a := range []action{
		insertRows, saveRow, saveRows, softDelete, hardDelete, setBack, writer, triggerDrop, block, nested, setSavepoint, rollbackTo, changeTable,
	} {
		names = append(names, "step "+string(a))
	}
	for _, f := range []failure{success, keyTaken, mailTaken, alwaysFails, inFailedBlock, notSerialized} {
		names = append(names, "ends "+string(f))
	}
	for _, guard := range []string{"none", "conflict", "savepoint", "preflight"} {
		names = append(names, "guard of a heal "+guard)
	}
	for _, m := range []mode{noTransaction, gormTransaction, callersTransaction} {
		names = append(names, string(m), "shop "+string(m))
	}
	for _, l := range blockLevels {
		names = append(names, "level "+l.String())
	}
	for _, table := range shopTables {
		names = append(names, "healed in the shop: "+table)
	}
	for _, v := range []visitAction{ownersWithPets, petsWithTags, appendPets, appendTags} {
		names = append(names, "healed visit "+string(v))
	}
	for _, c := range changes {
		names = append(names, "change: "+string(c))
	}
	return append(names, "tenant 1", "temporary table", "waited for an open import", "second key met", "healed second key", "incident healed", "healed far", "healed in the caller's transaction",
		"guard 0", "guard 1", "warm true", "prepared true", "translated", "elsewhere",
		"healed at Repeatable Read", "healed at Serializable", "tried again", "shop visit tried again",
		"committed", "rolled back", "commit of an aborted transaction", "nested kept", "nested rolled back",
		"nested in an aborted transaction", "rolled back to a savepoint", "alive again after ROLLBACK TO")
}

// check fails when something never happened in enough programs, and tells how
// often everything did.
func (c *counts) check(t *testing.T) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(c.of)) {
		fmt.Fprintf(&b, "\n%7d  %s", c.of[name], name)
	}
	t.Log(b.String())
	if c.of["programs"] < enough {
		return
	}
	if c.of[tooLate] > c.of["programs"]/500 {
		t.Errorf("%d times there was %s", c.of[tooLate], tooLate)
	}
	for _, name := range required() {
		if c.of[name] == 0 {
			t.Errorf("in %d programs this never happened: %s", c.of["programs"], name)
		}
	}
}
