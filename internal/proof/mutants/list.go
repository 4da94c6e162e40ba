package main

import "slices"

// mutants are all of them, by the room that they break.
var mutants = slices.Concat(ofHeal, ofUpserts, ofSequence, ofCatalog, ofStatement, ofConn)

// in are the tests that a mutant is given.
func in(packageName, run string) []test { return []test{{packageName: packageName, run: run}} }
