package pipeline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/internal/pipeline"
)

// piping is a plugin that sends every INSERT of a create callback in a pipeline: with a
// savepoint in a transaction, without one outside.
type piping struct{ sent, notSent int }

func (*piping) Name() string { return "piping" }

func (g *piping) Initialize(db *gorm.DB) error {
	original := db.Callback().Create().Get("gorm:create")
	return db.Callback().Create().Replace("gorm:create", func(db *gorm.DB) {
		if db.Error != nil || db.DryRun {
			return
		}
		pool := db.Statement.ConnPool
		defer func() { db.Statement.ConnPool = pool }()
		_, inside := pool.(gorm.TxCommitter)
		sending := pipeline.New(pool, pipeline.Plan{Savepoint: inside})
		db.Statement.ConnPool = sending.ConnPool()
		original(db)
		if o := sending.Outcome(); o.NotSent.Cause != pipeline.CauseNone {
			g.notSent++
			db.Error, db.Statement.ConnPool = nil, pool
			original(db) // the SQL is built already
		} else if g.sent++; o.SavepointOpen && o.Err != nil {
			_, _ = pool.ExecContext(context.Background(), "ROLLBACK TO SAVEPOINT seqheal_insert_failed") // aborted, as plain
		}
	})
}

type Pet struct {
	ID      uint
	OwnerID *uint
	Name    string `gorm:"uniqueIndex"`
}

type Tag struct {
	ID   uint
	Name string
}

type Owner struct {
	ID        uint
	CreatedAt time.Time
	Name      string
	Score     float64           `gorm:"default:1.5"`
	Labels    map[string]string `gorm:"serializer:json"`
	Data      json.RawMessage   `gorm:"type:jsonb"`
	Bytes     []byte
	Born      *time.Time
	Alive     bool   `gorm:"default:true"`
	Code      string `gorm:"default:gen_code()"`
	Pets      []Pet
	Tags      []Tag `gorm:"many2many:owner_tags"`
}

// Bare has no column that the database fills.
type Bare struct {
	ID   int64 `gorm:"primaryKey;autoIncrement:false"`
	Name string
}

var moment = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

// pointers and the schema of a place differ from run to run.
var pointers = regexp.MustCompile(`0x[0-9a-f]+|t\d+_\d+`)

// programs are what applications do. Each returns what it saw.
var programs = map[string]func(db *gorm.DB) any{
	"one": func(db *gorm.DB) any {
		o := Owner{Name: "a", Labels: map[string]string{"x": "y"}, Data: json.RawMessage(`{"a": 1}`), Bytes: []byte{1}, CreatedAt: moment}
		r := db.Create(&o)
		return []any{o, r.RowsAffected, r.Error}
	},
	"associations": func(db *gorm.DB) any {
		o := Owner{Name: "a", CreatedAt: moment, Pets: []Pet{{Name: "p"}, {Name: "q"}}, Tags: []Tag{{Name: "t"}, {Name: "u"}}}
		r := db.Create(&o)
		err := db.Model(&o).Association("Pets").Append(&Pet{Name: "r"})
		return []any{o, r.RowsAffected, r.Error, err}
	},
	"slice": func(db *gorm.DB) any {
		all := []*Owner{{Name: "a", CreatedAt: moment}, {ID: 77, Name: "b", CreatedAt: moment}, {Name: "c", CreatedAt: moment, Born: &moment}}
		r := db.Create(all)
		return []any{*all[0], *all[1], *all[2], r.RowsAffected, r.Error}
	},
	"batches": func(db *gorm.DB) any {
		all := make([]Pet, 25)
		for i := range all {
			all[i].Name = fmt.Sprint("p", i)
		}
		r := db.CreateInBatches(&all, 10)
		return []any{all, r.RowsAffected, r.Error}
	},
	"map": func(db *gorm.DB) any {
		m := map[string]any{"name": "m"}
		r := db.Model(&Pet{}).Create(&m)
		s := []map[string]any{{"name": "n"}, {"name": "o"}}
		r2 := db.Model(&Pet{}).Create(&s)
		n := map[string]any{"name": "table"}
		r3 := db.Table("pets").Create(&n)
		return []any{m, r.RowsAffected, r.Error, s, r2.RowsAffected, r2.Error, n, r3.RowsAffected, r3.Error}
	},
	"returning": func(db *gorm.DB) any {
		o := Owner{Name: "a", CreatedAt: moment}
		r := db.Clauses(clause.Returning{}).Create(&o)
		all := []Owner{{Name: "b", CreatedAt: moment}, {Name: "c", CreatedAt: moment}}
		r2 := db.Clauses(clause.Returning{Columns: []clause.Column{{Name: "id"}, {Name: "code"}}}).Create(&all)
		m := map[string]any{"name": "mm"}
		r3 := db.Model(&Pet{}).Clauses(clause.Returning{}).Create(&m)
		return []any{o, r.Error, all, r2.RowsAffected, r2.Error, m, r3.Error}
	},
	"no returning": func(db *gorm.DB) any {
		r := db.Create(&[]Bare{{1, "x"}, {2, "y"}})
		r2 := db.Create(&Bare{1, "again"})
		return []any{r.RowsAffected, r.Error, r2.RowsAffected, fmt.Sprint(r2.Error)}
	},
	"upserts": func(db *gorm.DB) any {
		var seen []any
		for _, c := range []clause.OnConflict{
			{DoNothing: true},
			{UpdateAll: true},
			{Columns: []clause.Column{{Name: "name"}}, DoUpdates: clause.Assignments(map[string]any{"owner_id": 9})},
			{Columns: []clause.Column{{Name: "name"}}, DoNothing: true},
		} {
			pets := []Pet{{Name: "x"}, {Name: "y"}, {ID: 500, Name: "z"}}
			r := db.Clauses(c).Create(&pets)
			seen = append(seen, pets, r.RowsAffected, fmt.Sprint(r.Error))
		}
		return seen
	},
	"errors": func(db *gorm.DB) any {
		first := db.Create(&Pet{Name: "x"}).Error
		second := db.Session(&gorm.Session{}).Create(&Pet{Name: "x"})
		third := db.Table("gone").Create(map[string]any{"a": 1})
		fourth := db.Model(&Pet{}).Create(map[string]any{"name": struct{ c chan int }{}})
		return []any{first, seeError(second.Error), second.RowsAffected, seeError(third.Error), seeError(fourth.Error)}
	},
	"transaction": func(db *gorm.DB) any {
		var seen []any
		err := db.Transaction(func(tx *gorm.DB) error {
			seen = append(seen, tx.Create(&Pet{Name: "x"}).Error)
			inner := tx.Transaction(func(tx *gorm.DB) error {
				seen = append(seen, tx.Create(&Pet{Name: "y"}).Error)
				return tx.Create(&Pet{Name: "x"}).Error
			})
			seen = append(seen, seeError(inner))
			p := Pet{Name: "z"}
			seen = append(seen, tx.Create(&p).Error, p)
			return nil
		})
		return append(seen, err)
	},
	"aborted": func(db *gorm.DB) any {
		var seen []any
		err := db.Transaction(func(tx *gorm.DB) error {
			tx.Create(&Pet{Name: "x"})
			seen = append(seen, seeError(tx.Create(&Pet{Name: "x"}).Error))
			seen = append(seen, seeError(tx.Exec("SELECT 1").Error))
			return nil
		})
		return append(seen, seeError(err))
	},
	"connection": func(db *gorm.DB) any {
		var seen []any
		err := db.Connection(func(c *gorm.DB) error {
			p := Pet{Name: "x"}
			seen = append(seen, c.Create(&p).Error, p)
			return nil
		})
		return append(seen, err)
	},
	"save": func(db *gorm.DB) any {
		p := Pet{Name: "s"}
		err := db.Save(&p).Error
		p.Name = "t"
		err2 := db.Save(&p).Error
		all := []Pet{{Name: "v"}, {Name: "w"}}
		err3 := db.Save(&all).Error
		return []any{p, err, err2, all, err3}
	},
	"first or create": func(db *gorm.DB) any {
		var a, b Pet
		err := db.FirstOrCreate(&a, Pet{Name: "f"}).Error
		err2 := db.FirstOrCreate(&b, Pet{Name: "f"}).Error
		return []any{a, b, err, err2}
	},
	"generics": func(db *gorm.DB) any {
		p := Pet{Name: "g"}
		result := gorm.WithResult()
		err := gorm.G[Pet](db, result).Create(context.Background(), &p)
		var n int64
		if result.Result != nil {
			n, _ = result.Result.RowsAffected()
		}
		b := Bare{ID: 9, Name: "g"}
		result2 := gorm.WithResult()
		err2 := gorm.G[Bare](db, result2).Create(context.Background(), &b)
		if result2.Result != nil {
			n, _ = result2.Result.RowsAffected()
		}
		return []any{p, err, n, result.RowsAffected, err2, result2.RowsAffected}
	},
	"context": func(db *gorm.DB) any {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		err := db.WithContext(ctx).Create(&Pet{Name: "x"}).Error
		err2 := db.WithContext(context.Background()).Create(&Pet{Name: "x"}).Error
		return []any{seeError(err), err2}
	},
}

func TestGORM_seesNoDifference(t *testing.T) {
	for name, config := range map[string]gorm.Config{
		"default":                       {},
		"prepared":                      {PrepareStmt: true},
		"outside":                       {SkipDefaultTransaction: true},
		"outside, prepared, translated": {SkipDefaultTransaction: true, PrepareStmt: true, TranslateError: true},
	} {
		t.Run(name, func(t *testing.T) {
			for program, run := range programs {
				plugin := &piping{}
				plain, plainStored := seenBy(t, config, run)
				piped, pipedStored := seenBy(t, config, run, plugin)
				same(t, program, plain, piped)
				same(t, program+" stored", plainStored, pipedStored)
				if plugin.sent == 0 {
					t.Errorf("%s: %d sent, %d not", program, plugin.sent, plugin.notSent)
				}
			}
		})
	}
}

// seenBy runs a program twice, the second time with known statements, and returns what it
// saw and what is stored then.
func seenBy(t *testing.T, config gorm.Config, run func(*gorm.DB) any, plugins ...gorm.Plugin) (seen, stored string) {
	t.Helper()
	p := pgtest.New(t)
	db := p.Open(&config, plugins...)
	p.Exec("CREATE FUNCTION $S.gen_code() RETURNS text LANGUAGE sql AS 'SELECT ''code''::text'")
	if err := db.AutoMigrate(&Owner{}, &Pet{}, &Tag{}, &Bare{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		all := run(db)
		text, err := json.MarshalIndent(all, "", " ") // shows what pointers point to
		if err != nil {
			t.Fatal(err)
		}
		seen += pointers.ReplaceAllString(fmt.Sprintf("%+v\n%s\n", all, text), "")
	}
	return seen, p.Text(everything)
}

const everything = `SELECT 'owner', to_jsonb(o) FROM $S.owners o UNION ALL SELECT 'pet', to_jsonb(p) FROM $S.pets p
	UNION ALL SELECT 'tag', to_jsonb(x) FROM $S.owner_tags x UNION ALL SELECT 'bare', to_jsonb(b) FROM $S.bares b ORDER BY 1, 2`
