package hostile_test

import "testing"

// Where nothing changes under a program, a drift is healed and a healthy table is as
// with plain GORM, in every setting.
func TestCreate_whereNothingChanges(t *testing.T) {
	t.Parallel()
	beside(t, program{name: "users", settings: every, run: func(w *world) {
		w.touch("users")
		w.useAll("after", "users", rewind)
	}})
}
