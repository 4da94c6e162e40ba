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
	if done, other, own := h.enter(key, before, false); done != nil || other != nil || own != nil {
		t.Fatalf("one without a connection follows %v, %v or leads %v", done, other, own)
	}
	_, _, first := h.enter(key, before, true)
	if first == nil {
		t.Fatal("the first does not lead")
	}
	if done, other, own := h.enter(key, before, true); done != nil || other != first || own != nil {
		t.Errorf("the second follows %v, %v or leads %v", done, other, own)
	}
	h.end(key, first, &moved{to: resync.Sight{Value: 20, Found: true}, at: time.Now()})
	if !first.ended(t.Context()) || first.err != nil || first.value.to.Value != 20 {
		t.Errorf("who waited learns %+v, %v", first.value, first.err)
	}
	if done, _, _ := h.enter(key, before, true); done == nil || done.to.Value != 20 {
		t.Errorf("one that was sent before the end follows %v", done)
	}
	if done, other, own := h.enter(primary{key.table, "u_pkey"}, before, true); done != nil || other != nil || own == nil {
		t.Errorf("one on another key follows %v, %v", done, other)
	}
	done, other, second := h.enter(key, time.Now(), true)
	if done != nil || other != nil || second == nil {
		t.Fatalf("one that was sent after the end follows %v, %v", done, other)
	}
	h.end(key, second, nil)
	if second.err == nil {
		t.Error("a heal that failed is followed")
	}
	_, _, slow := h.enter(key, time.Now(), true)
	h.abandon(key, slow)
	_, _, fourth := h.enter(key, time.Now(), true)
	if slow == nil || fourth == nil {
		t.Fatal("nobody leads after one that failed, or that was given up")
	}
	h.end(key, slow, nil)
	if _, other, _ := h.enter(key, time.Now(), true); other != fourth {
		t.Error("the end of one that was given up is taken for another's")
	}
}
