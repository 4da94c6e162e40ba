package conn

import (
	"testing"
	"time"
)

func TestMillisecondsTakesTheShorterLimitAndNeverNone(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		left, own time.Duration
		want      int64
	}{
		{"no limit of the session's", time.Second, 0, 1000},
		{"the session's is shorter", time.Second, 150 * time.Millisecond, 150},
		{"the session's is longer", time.Second, time.Minute, 1000},
		{"hardly anything left binds no ROLLBACK", 300 * time.Microsecond, 0, 50},
		{"nothing left", 0, time.Second, 50},
		{"the session's is less than a millisecond, and not 0, which means no limit", time.Second, 300 * time.Microsecond, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := milliseconds(test.left, test.own); got != test.want {
				t.Errorf("milliseconds = %d, want %d", got, test.want)
			}
		})
	}
}
