// Command silent shows what drift does without any error, and the same program
// with the plugin: go run ./examples/silent
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/pgserver"
	"github.com/seqheal/seqheal/plugin"
)

// Owner has many pets.
type Owner struct {
	ID   int64
	Name string
	Pets []Pet
}

// Pet belongs to an owner.
type Pet struct {
	ID      int64
	Name    string
	OwnerID int64
}

// The pets 1 to 3 were imported with their ids; the sequence is at its start.
const create = `
CREATE TABLE owners (id bigserial PRIMARY KEY, name text);
CREATE TABLE pets (id bigserial PRIMARY KEY, name text, owner_id bigint);
INSERT INTO owners VALUES (1, 'Ada'); SELECT setval('owners_id_seq', 1);
INSERT INTO pets VALUES (1, 'Rex', 1), (2, 'Tom', 1), (3, 'Kit', 1)`

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "silent:", err)
		os.Exit(1)
	}
}

func run() error {
	server, err := pgserver.Start()
	if err != nil {
		return err
	}
	defer server.Stop()
	for _, program := range []struct {
		name string
		run  func(*gorm.DB) error
	}{
		{"has many: db.Create(&Owner{Name: \"Bob\", Pets: []Pet{{Name: \"Neo\"}}})", func(db *gorm.DB) error {
			return db.Create(&Owner{Name: "Bob", Pets: []Pet{{Name: "Neo"}}}).Error
		}},
		{"Save: db.Save(&[]Pet{{Name: \"Neo\"}, {Name: \"Max\"}})", func(db *gorm.DB) error {
			return db.Save(&[]Pet{{Name: "Neo"}, {Name: "Max"}}).Error
		}},
	} {
		fmt.Println(program.name)
		for _, healing := range []bool{false, true} {
			if err := show(server, healing, program.run); err != nil {
				return err
			}
		}
	}
	return nil
}

// show runs a program on a drifted database of its own and prints the pets.
func show(server *pgserver.Server, healing bool, program func(*gorm.DB) error) (err error) {
	schema := "silent_" + strconv.FormatInt(time.Now().UnixNano(), 36)
	db, err := gorm.Open(postgres.Open(server.With(map[string]string{"search_path": schema})), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		return err
	}
	if pool, err := db.DB(); err == nil {
		defer func() { _ = pool.Close() }()
	}
	if err := db.Exec("CREATE SCHEMA " + schema + ";" + create).Error; err != nil {
		return err
	}
	defer db.Exec("DROP SCHEMA " + schema + " CASCADE")
	if !healing {
		fmt.Println("  without the plugin")
	} else {
		fmt.Println("  with db.Use(plugin.New())")
		if err := db.Use(plugin.New(plugin.OnIncident(func(_ context.Context, incident plugin.Incident) {
			fmt.Println("    incident ", incident)
		}))); err != nil {
			return err
		}
	}
	fmt.Println("    error    ", program(db))
	var pets []Pet
	if err := db.Order("id").Find(&pets).Error; err != nil {
		return err
	}
	intact := len(pets) > 3 && pets[0] == Pet{1, "Rex", 1} && pets[1] == Pet{2, "Tom", 1} && pets[2] == Pet{3, "Kit", 1}
	for _, pet := range pets {
		fmt.Printf("    pet       %+v\n", pet)
	}
	if intact != healing {
		return fmt.Errorf("imported pets intact: %v", intact)
	}
	return nil
}
