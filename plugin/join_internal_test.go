package plugin

import (
	"testing"
	"time"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/resync"
)

// Whoever collides follows a heal that ended after its statement was sent, or is under
// way, and no other.
func TestWhomACollisionFollows(t *testing.T) {
	t.Parallel()
	key := primary{catalog.Name{Schema: "s", Table: "t"}, "t_pkey"}
	var h heals
	before := time.Now()
	if done, other, own := h.enter(key, before); done != nil || other != nil || own == nil {
		t.Fatalf("the first follows %v, %v", done, other)
	} else if done, waits, second := h.enter(key, before); done != nil || waits != own || second != nil {
		t.Errorf("the second follows %v, %v", done, waits)
	} else {
		h.end(key, own, resync.Sight{Value: 20, Found: true}, true)
		if !waits.ended(t.Context()) || waits.err != nil || waits.value.to.Value != 20 {
			t.Errorf("who waited learns %+v, %v", waits.value, waits.err)
		}
	}
	if done, _, _ := h.enter(key, before); done == nil || done.to.Value != 20 {
		t.Errorf("one that was sent before the end follows %v", done)
	}
	other := primary{key.table, "u_pkey"}
	if done, waits, own := h.enter(other, before); done != nil || waits != nil || own == nil {
		t.Errorf("one on another key follows %v, %v", done, waits)
	}
	done, waits, own := h.enter(key, time.Now())
	if done != nil || waits != nil || own == nil {
		t.Fatalf("one that was sent after the end follows %v, %v", done, waits)
	}
	h.end(key, own, resync.Sight{}, false)
	if own.err == nil {
		t.Error("a heal that failed is followed")
	}
	if done, waits, own := h.enter(key, time.Now()); done != nil || waits != nil || own == nil {
		t.Errorf("after one that failed, the next follows %v, %v", done, waits)
	}
}
