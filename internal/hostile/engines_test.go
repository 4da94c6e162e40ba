package hostile_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/hostile/engine"
	"github.com/seqheal/seqheal/plugin"
)

// syncedLog is a log that several goroutines may write.
type syncedLog struct {
	mutex sync.Mutex
	bytes.Buffer
}

func (l *syncedLog) Write(b []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.Buffer.Write(b)
}

// unprotected reports whether the log says that inserts are not protected.
func (l *syncedLog) unprotected() bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return strings.Contains(l.String(), "not protected") || strings.Contains(l.String(), "without protection")
}

// play lets the program's pool go to the engine.
func (w *world) play(profile engine.Profile) {
	w.t.Helper()
	if profile.Setup != "" {
		w.place.Exec(profile.Setup)
	}
	proxy, through, err := engine.Start(w.place.DSN, profile)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(proxy.Close)
	w.switchTo(through)
}

var engineSettings = []setting{noTx, gormTx, callerTx}

// On engines that lack a part of PostgreSQL a healthy program does not notice the plugin.
func TestEngines_healthy(t *testing.T) {
	t.Parallel()
	for _, profile := range engine.Profiles {
		p := program{run: func(w *world) {
			w.play(profile)
			w.useAll("first", "users", "")
			w.useAll("second", "users", "")
		}}
		for _, s := range engineSettings {
			t.Run(profile.Name+", "+s.name, func(t *testing.T) {
				t.Parallel()
				want, got := p.execute(t, s, false, false), p.execute(t, s, false, true)
				if profile.Setup == "" {
					want.lines, got.lines = append(want.lines, want.exact...), append(got.lines, got.exact...)
				} // else which ids are used depends on the connections that cached them
				differ(t, want.lines, got.lines)
				if reported := got.reported(); len(reported) > 0 {
					t.Errorf("incidents on healthy data: %v", reported)
				}
			})
		}
	}
}

// On drifted data each insert is healed, or fails and is reported, or the log says that such
// inserts are not protected. No row is lost without a word.
func TestEngines_drifted(t *testing.T) {
	t.Parallel()
	for _, profile := range engine.Profiles {
		for _, s := range engineSettings {
			t.Run(profile.Name+", "+s.name, func(t *testing.T) {
				t.Parallel()
				log := &syncedLog{}
				p := program{options: []plugin.Option{plugin.WithLogger(slog.New(slog.NewTextHandler(log, nil)))}}
				w := p.open(t, s, true, true)
				w.play(profile)
				var said []string
				for _, u := range uses {
					said = append(said, w.onEngine(u, log))
				}
				t.Log(strings.Join(said, "; "))
			})
		}
	}
}

// onEngine inserts on drifted data and says what became of it.
func (w *world) onEngine(u use, log *syncedLog) string {
	w.t.Helper()
	w.place.Exec("TRUNCATE users; INSERT INTO users SELECT g, 'old ' || g FROM generate_series(1, 20) g; " + rewind)
	w.forget()
	users := make([]user, u.rows)
	for i := range users {
		users[i].Name = fmt.Sprintf("new %d", i)
	}
	stored := int64(u.rows)
	if u.named != 0 {
		users[1].ID = u.named
		if strings.Contains(u.name, "DoNothing") {
			stored-- // that row is there
		}
	}
	err := w.within(func(db *gorm.DB) error { return u.run(db, users).Error })
	found := w.place.Int("SELECT count(*) FROM users WHERE name LIKE 'new%'")
	untouched := w.place.Int("SELECT count(*) FROM users WHERE name = 'old ' || id AND id NOT IN (3, 5)")
	said := fmt.Sprintf("%s: %d of %d rows, %d of 18 old, error %v, %d incidents", u.name, found, stored, untouched, err, len(w.reported()))
	spoken := len(w.reported()) > 0 || log.unprotected()
	switch {
	case err != nil && (found != 0 || untouched != 18):
		w.t.Errorf("half stored: %s", said)
	case err == nil && (found != stored || untouched != 18) && !spoken:
		w.t.Errorf("lost without a word: %s", said)
	case err != nil && !spoken && !strings.Contains(err.Error(), "40001"):
		w.t.Errorf("failed without a word: %s", said)
	}
	return said
}
