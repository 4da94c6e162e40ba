package plugin_test

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// A sequence that took another's place is noticed: the next named id moves it.
func TestPreventionAfterTheSequenceWasReplaced(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, p *pgtest.Place) {
		p.Exec(`CREATE TABLE users (id bigserial PRIMARY KEY, name text)`)
		db := p.Open(&m.config, plugin.New(plugin.WithPrevention()))
		for _, id := range []int64{20, 30, 40} {
			if err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&user{ID: id}).Error }); err != nil {
				t.Fatal(err)
			}
			if id == 20 {
				p.Exec(`ALTER TABLE users ALTER id DROP DEFAULT; DROP SEQUENCE users_id_seq;
					CREATE SEQUENCE users_id_seq OWNED BY users.id; ALTER TABLE users ALTER id SET DEFAULT nextval('users_id_seq')`)
			}
		}
		if last := p.Int("SELECT last_value FROM users_id_seq"); last != 40 {
			t.Errorf("the sequence stands at %d", last)
		}
	})
}

// UPDATE alone lets a role draw, and before PostgreSQL 18 not ask how far the sequence is.
func TestPreventionByARoleThatMayNotAskForTheLastValue(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, p *pgtest.Place) {
		if p.Int("SELECT current_setting('server_version_num')::int") >= 180000 {
			return // it answers null, and the sequence is moved
		}
		p.Exec(`CREATE TABLE users (id bigserial PRIMARY KEY, name text)`)
		db, log := preventingAs(p, m, "GRANT SELECT, INSERT ON users TO $R; GRANT UPDATE ON SEQUENCE users_id_seq TO $R")
		for id := range int64(3) {
			if err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&user{ID: 20 + id}).Error }); err != nil {
				t.Fatal(err)
			}
		}
		if got := log.String(); strings.Count(got, "GRANT USAGE, SELECT ON SEQUENCE") != 1 {
			t.Errorf("logged: %s", got)
		}
	})
}

// Importers that work side by side and a drawing application lose nothing, as long as
// the importers name ids that are far apart: the application draws what lies between. The
// sequence gives odd values, or one draw in some thousand is an id that is named next.
func TestPreventionUnderConcurrentImports(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE users (id bigserial PRIMARY KEY, name text); ALTER SEQUENCE users_id_seq INCREMENT 2`)
	db := p.Open(nil, plugin.New(plugin.WithPrevention()))
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for i := range 50 {
				if err := db.Create(&user{ID: int64(100_000 + i*10_000 + worker*1_000), Name: "named"}).Error; err != nil {
					t.Error(err)
				}
			}
		})
		group.Go(func() {
			for range 50 {
				if err := db.Create(&user{Name: "drawn"}).Error; err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if got := p.Text("SELECT name, count(*) FROM users GROUP BY name ORDER BY name"); got != "drawn|200\nnamed|200" {
		t.Errorf("rows: %s", got)
	}
	if behind := p.Int("SELECT (SELECT max(id) FROM users) - last_value FROM users_id_seq"); behind > 0 {
		t.Errorf("the sequence is %d behind", behind)
	}
}

// preventingAs opens a place with prevention as a role of its own, $R in the grants, and
// gives what is logged.
func preventingAs(p *pgtest.Place, m mode, grants string) (*gorm.DB, *bytes.Buffer) {
	role := p.Role()
	p.Exec(strings.ReplaceAll(grants, "$R", role))
	log := new(bytes.Buffer)
	config := m.config
	config.Logger = logger.New(writer{log}, logger.Config{LogLevel: logger.Error})
	return p.OpenDSN(p.DSNFor(map[string]string{"user": role}), &config, plugin.New(plugin.WithPrevention())), log
}
