package plugin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

type author struct {
	ID    int64
	Name  string
	Books []book
}

type book struct {
	ID       int64
	AuthorID int64
	Title    string
}

// noting writes a note about itself.
type noting struct {
	ID   int64
	Name string
}

func (noting) TableName() string { return "authors" }

var hookLine = here(3)

func (h *noting) AfterCreate(tx *gorm.DB) error {
	return tx.Create(&book{AuthorID: h.ID, Title: "by a hook"}).Error
}

// here is a line below the one that asks for it, as a caller has it.
func here(below int) string {
	_, file, line, _ := runtime.Caller(1)
	return fmt.Sprintf("%s:%d", file, line+below)
}

// wrapped is a store as applications have it; its line counts.
type wrapped[T any] struct{ db *gorm.DB }

var wrapperLine = here(2)

func (w wrapped[T]) save(value *T) error { return w.db.Create(value).Error }

// The caller is the application's line that sent the insert, whatever GORM does in between.
func TestIncident_caller(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		// insert sends an insert that collides and returns its line.
		insert func(db *gorm.DB) (line string, err error)
	}{
		{"Create", func(db *gorm.DB) (string, error) { return here(0), db.Create(&book{}).Error }},
		{"Save of a slice", func(db *gorm.DB) (string, error) { return here(0), db.Save(&[]book{{Title: "a"}, {Title: "b"}}).Error }},
		{"a map", func(db *gorm.DB) (string, error) {
			return here(0), db.Model(&book{}).Create(map[string]any{"title": "a"}).Error
		}},
		{"the generics API", func(db *gorm.DB) (string, error) {
			return here(0), gorm.G[book](db).Create(context.Background(), &book{})
		}},
		{"the generics API with clauses", func(db *gorm.DB) (string, error) {
			return here(0), gorm.G[book](db, clause.OnConflict{DoNothing: true}).Create(context.Background(), &book{})
		}},
		{"FirstOrCreate", func(db *gorm.DB) (string, error) {
			return here(0), db.FirstOrCreate(&book{}, book{Title: "unheard of"}).Error
		}},
		{"CreateInBatches", func(db *gorm.DB) (string, error) {
			books := make([]book, 5)
			return here(0), db.CreateInBatches(&books, 2).Error
		}},
		{"a save of an association", func(db *gorm.DB) (string, error) {
			return here(0), db.Create(&author{Books: []book{{Title: "a"}}}).Error
		}},
		{"Association.Append", func(db *gorm.DB) (string, error) {
			owner := author{}
			if err := db.Create(&owner).Error; err != nil {
				return "", err
			}
			return here(0), db.Model(&owner).Association("Books").Append(&book{Title: "a"})
		}},
		{"a hook", func(db *gorm.DB) (string, error) { return hookLine, db.Create(&noting{}).Error }},
		{"a generic wrapper", func(db *gorm.DB) (string, error) { return wrapperLine, wrapped[book]{db}.save(&book{}) }},
		{"a function literal in a transaction", func(db *gorm.DB) (line string, err error) {
			err = db.Transaction(func(tx *gorm.DB) error {
				line, err = here(0), tx.Create(&book{}).Error
				return err
			})
			return line, err
		}},
		{"a callback of the application's", func(db *gorm.DB) (line string, err error) {
			if err := db.Callback().Create().After("gorm:create").Register("audit", func(tx *gorm.DB) {
				if tx.Statement.Table == "authors" {
					line = here(1)
					_ = tx.AddError(tx.Session(&gorm.Session{NewDB: true}).Create(&book{Title: "noted"}).Error)
				}
			}); err != nil {
				return "", err
			}
			err = db.Create(&author{}).Error
			return line, err
		}},
		{"a callback that wraps seqheal's", func(db *gorm.DB) (string, error) {
			inner := db.Callback().Create().Get("gorm:create")
			if err := db.Callback().Create().Replace("gorm:create", func(tx *gorm.DB) { inner(tx) }); err != nil {
				return "", err
			}
			return here(0), db.Create(&book{}).Error
		}},
		{"a goroutine", func(db *gorm.DB) (line string, err error) {
			done := make(chan error)
			go func() {
				line = here(1)
				done <- db.Create(&book{}).Error
			}()
			return line, <-done
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			place.Exec(`CREATE TABLE authors (id bigserial PRIMARY KEY, name text);
				CREATE TABLE books (id bigserial PRIMARY KEY, author_id bigint, title text); INSERT INTO books VALUES (1, 7, 'old'), (2, 7, 'old')`)
			var out bytes.Buffer
			var seen incidents
			db := place.Open(nil, plugin.New(seen.option(), plugin.WithLogger(slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{AddSource: true})))))
			line, err := test.insert(db)
			if err != nil {
				t.Fatal(err)
			}
			if i := seen.list()[0]; i.Caller != line || !strings.Contains(i.Caller, "/plugin/caller_test.go:") {
				t.Errorf("sent by %s instead of %s", i.Caller, line)
			}
			var record struct {
				Source struct {
					File string
					Line int
				}
				Seqheal struct{ Caller string }
			}
			if err := json.NewDecoder(&out).Decode(&record); err != nil {
				t.Fatal(err)
			}
			if source := fmt.Sprintf("%s:%d", record.Source.File, record.Source.Line); source != record.Seqheal.Caller || source == ":0" {
				t.Errorf("the record's source is %s, its caller %s", source, record.Seqheal.Caller)
			}
		})
	}
}
