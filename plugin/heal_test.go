package plugin_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// user is the article's table.
type user struct {
	ID   int64
	Name string
}

// incidents collects what a plugin reports.
type incidents struct {
	mutex sync.Mutex
	all   []plugin.Incident
}

func (i *incidents) option() plugin.Option {
	return plugin.OnIncident(func(_ context.Context, incident plugin.Incident) {
		i.mutex.Lock()
		defer i.mutex.Unlock()
		i.all = append(i.all, incident)
	})
}

func (i *incidents) take() []plugin.Incident {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	all := i.all
	i.all = nil
	return all
}

// mode is one of the three ways in which GORM inserts.
type mode struct {
	name   string
	config gorm.Config
	within func(*gorm.DB, func(*gorm.DB) error) error
}

func modes() []mode {
	plain := func(db *gorm.DB, fn func(*gorm.DB) error) error { return fn(db) }
	return []mode{
		{"no transaction", gorm.Config{SkipDefaultTransaction: true}, plain},
		{"GORM's transaction", gorm.Config{}, plain},
		{"caller's transaction", gorm.Config{}, func(db *gorm.DB, fn func(*gorm.DB) error) error { return db.Transaction(fn) }},
	}
}

const drifted = `CREATE TABLE users (id bigserial PRIMARY KEY, name text);
INSERT INTO users SELECT g, 'old ' || g FROM generate_series(1, 20) g`

func TestSmoke(t *testing.T) {
	t.Parallel()
	for _, m := range modes() {
		for _, rows := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s %d rows", m.name, rows), func(t *testing.T) {
				t.Parallel()
				place := pgtest.New(t)
				place.Exec(drifted)
				var seen incidents
				db := place.Open(&m.config, plugin.New(seen.option()))
				users := make([]user, rows)
				for i := range users {
					users[i].Name = fmt.Sprint("new ", i)
				}
				err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&users).Error })
				if err != nil {
					t.Fatal(err)
				}
				for i, u := range users {
					if u.ID <= 20 {
						t.Errorf("row %d has id %d", i, u.ID)
					}
				}
				for _, i := range seen.take() {
					t.Log(i)
				}
			})
		}
	}
}
