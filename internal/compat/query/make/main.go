// Command make generates the code that gorm.io/gen gives for an account: go run ./query/make
// in internal/compat.
package main

import (
	"gorm.io/gen"

	"github.com/seqheal/seqheal/internal/compat/query/model"
)

func main() {
	g := gen.NewGenerator(gen.Config{OutPath: "query", OutFile: "gen.go", Mode: gen.WithDefaultQuery | gen.WithQueryInterface})
	g.ApplyBasic(model.Account{})
	g.Execute()
}
