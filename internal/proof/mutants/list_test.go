package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a mutant replaces stands once in its file, so that a change of the code that leaves a
// mutant behind is reported at once.
func TestEveryEditStandsInTheCodeOnce(t *testing.T) {
	t.Parallel()
	for _, m := range mutants {
		for _, e := range m.edits {
			text, err := os.ReadFile(filepath.Join("..", "..", "..", e.file))
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(text), e.old); n != 1 {
				t.Errorf("%s: %d times in %s: %s", m.name, n, e.file, e.old)
			}
		}
	}
}
