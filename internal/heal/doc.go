// Package heal is the life of one INSERT on a table whose sequence may have drifted.
//
//	send ─── stored, or an error that is the caller's own ────────▶ done
//	  └─ collided ─▶ classify ─── the caller's own ────────────────▶ abandon
//	                     └─ drift ─▶ locate ─▶ advance ─▶ send again
//	                                   └─ refused or failed ────────▶ abandon
//	     collided after the last round ────────────────────────────▶ abandon
//
// [Healer.Create] prepares the statement, choose picks the [strategy] that keeps a
// collision from doing harm, and run is the loop above. classify decides whether a
// drawn value collided, locate finds the furthest row, advance moves the sequence
// past it. The state of a heal is an attempt; a statement that does not collide has
// none. Nothing here knows the public package: what happened is handed to a
// [Reporter].
package heal
