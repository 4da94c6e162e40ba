//go:build unix

package compat

import (
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// P5, P8: statement pooling takes no transaction, so nothing can be healed. Outside one a
// healthy insert is as with plain GORM, and one that collides gets PostgreSQL's own error and
// is reported with the reason. In a transaction GORM fails with the plugin as without it.
func TestStatementPoolingHealsNothing(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(drifted + "SELECT setval('accounts_id_seq', 20)")
	bouncer := startPooler(t, p, 4, "pool_mode = statement")
	var seen incidents
	config := gorm.Config{SkipDefaultTransaction: true}
	plain, db := open(t, postgres.Open(bouncer.dsn("exec")), config), open(t, postgres.Open(bouncer.dsn("exec")), config, seen.plugin())
	created := newAccounts("new", 4)
	for i, one := range []*gorm.DB{plain, db, plain, db} {
		if err := one.Create(&created[i]).Error; err != nil || created[i].ID != int64(21+i) {
			t.Errorf("insert %d: id %d, %v", i, created[i].ID, err)
		}
	}
	stored(t, p, "accounts", 20, created...)
	if all := seen.list(); len(all) > 0 {
		t.Errorf("incidents on healthy data: %v", all)
	}
	for _, one := range []*gorm.DB{plain, db} {
		if err := one.Session(&gorm.Session{SkipDefaultTransaction: false}).Transaction(func(tx *gorm.DB) error {
			return tx.Create(&newAccounts("inside", 1)[0]).Error
		}); err == nil {
			t.Error("a transaction through statement pooling succeeded")
		}
	}
	p.Exec(driftAgain)
	if err := db.Create(&newAccounts("drifted", 1)[0]).Error; err == nil {
		t.Error("the insert succeeded")
	} else if all := seen.list(); len(all) != 1 || all[0].Outcome != plugin.Failed || all[0].Err == nil {
		t.Errorf("%v; incidents %v", err, all)
	}
	stored(t, p, "accounts", 20, created...)
}
