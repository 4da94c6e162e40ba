package hostile_test

import (
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/plugin"
)

// Prevention's memory of how far a sequence is does not outlive a sequence that
// was set back, or a table that was made anew.
func TestPrevention_afterTheSequenceWentBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, back string }{
		{"TRUNCATE RESTART IDENTITY", "TRUNCATE users RESTART IDENTITY"},
		{"setval", "DELETE FROM users; SELECT setval('users_id_seq', 1, false)"},
		{"ALTER SEQUENCE RESTART", "DELETE FROM users; ALTER SEQUENCE users_id_seq RESTART"},
		{"DROP and CREATE", "DROP TABLE users; CREATE TABLE users (id bigserial PRIMARY KEY, name text)"},
		{"SET DEFAULT of another sequence", "DELETE FROM users; CREATE SEQUENCE other; ALTER TABLE users ALTER id SET DEFAULT nextval('other')"},
		{"DropTable and AutoMigrate", ""},
	} {
		for _, s := range settings {
			t.Run(c.name+", "+s.name, func(t *testing.T) {
				t.Parallel()
				p := program{options: []plugin.Option{plugin.WithPrevention()}, run: func(w *world) {
					named := func(id int64) {
						_ = w.step("named", func(db *gorm.DB) *gorm.DB { return db.Create(&user{ID: id, Name: "named"}) })
						u := user{Name: "next"}
						_ = w.step("next", func(db *gorm.DB) *gorm.DB { return db.Create(&u) })
						if u.ID != id+1 {
							w.t.Errorf("the id after %d is %d", id, u.ID)
						}
					}
					named(1000)
					if c.back != "" {
						w.ddl(c.back)
					} else if err := w.db.Migrator().DropTable(&user{}); err != nil {
						w.t.Error(err)
					} else if err := w.db.AutoMigrate(&user{}); err != nil {
						w.t.Error(err)
					}
					named(50)
					w.db.Create(&[]user{{ID: 60, Name: "named"}, {ID: 55, Name: "named"}})
					u := user{Name: "next"}
					if err := w.db.Create(&u).Error; err != nil || u.ID != 61 {
						w.t.Errorf("the id after 60 is %d, error %v", u.ID, err)
					}
				}}
				w := p.execute(t, s, false, true)
				if text := strings.Join(w.lines, "\n"); strings.Contains(text, "error ERROR") {
					t.Error(text)
				}
				for _, i := range w.reported() {
					t.Errorf("prevention left a drift behind: %v", i)
				}
			})
		}
	}
}
