// Command flow lists the functions that one colliding row passes in the caller's
// transaction, on a table that is known:
//
//	GOCOVERDIR=$(mktemp -d) go run -cover -covermode=atomic -coverpkg=github.com/seqheal/seqheal/... ./flow
//
// The list in docs/design.md comes from here. Coverage counters are cleared before the
// insert and read after it.
package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/coverage"
	"slices"
	"strconv"
	"strings"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/pgserver"
	"github.com/seqheal/seqheal/plugin"
)

type user struct {
	ID   int64
	Name string
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "flow:", err)
		os.Exit(1)
	}
}

func run() error {
	server, err := pgserver.Start()
	if err != nil {
		return err
	}
	defer server.Stop()
	schema := "flow_" + strconv.FormatInt(time.Now().UnixNano(), 36)
	db, err := gorm.Open(postgres.Open(server.With(map[string]string{"search_path": schema})), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		return err
	}
	defer db.Exec("DROP SCHEMA " + schema + " CASCADE")
	if err := db.Exec("CREATE SCHEMA " + schema + "; CREATE TABLE users (id bigserial PRIMARY KEY, name text)").Error; err != nil {
		return err
	}
	if err := db.Use(plugin.New()); err != nil {
		return err
	}
	insert := func() error {
		return db.Transaction(func(tx *gorm.DB) error { return tx.Create(&user{Name: "new"}).Error })
	}
	if err := insert(); err != nil { // the table is known from here on
		return err
	}
	if err := db.Exec("INSERT INTO users SELECT n, 'imported' FROM generate_series(2, 50) n").Error; err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "flow")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := coverage.ClearCounters(); err != nil {
		return err
	}
	if err := insert(); err != nil {
		return err
	}
	if err := coverage.WriteCountersDir(dir); err != nil {
		return err
	}
	if err := coverage.WriteMetaDir(dir); err != nil {
		return err
	}
	return list(dir)
}

// list prints the functions that ran, a line for each file, and counts them by package.
func list(dir string) error {
	profile := filepath.Join(dir, "profile")
	if out, err := exec.Command("go", "tool", "covdata", "textfmt", "-i", dir, "-o", profile).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	out, err := exec.Command("go", "tool", "cover", "-func", profile).Output()
	if err != nil {
		return err
	}
	ran := map[string]map[string][]string{} // functions by package and file
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line) // github.com/…/heal.go:81:  Create  71.4%
		file, _, found := strings.Cut(strings.TrimPrefix(fields[0], "github.com/seqheal/seqheal/"), ":")
		folder, name := filepath.Split(file)
		if !found || folder == "" || len(fields) != 3 || fields[2] == "0.0%" || strings.HasPrefix(folder, "internal/proof") {
			continue
		}
		if ran[folder] == nil {
			ran[folder] = map[string][]string{}
		}
		ran[folder][name] = append(ran[folder][name], fields[1])
	}
	for _, folder := range slices.Sorted(maps.Keys(ran)) {
		count := 0
		for _, functions := range ran[folder] {
			count += len(functions)
		}
		fmt.Printf("%s  %d functions in %d files\n", folder, count, len(ran[folder]))
		for _, name := range slices.Sorted(maps.Keys(ran[folder])) {
			fmt.Printf("  %-16s %s\n", name, strings.Join(ran[folder][name], " "))
		}
	}
	return nil
}
