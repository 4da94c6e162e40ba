package pgserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// embedded is the module that fetches server programs. This package does not import it: it
// would be a requirement of every application that uses the plugin.
var embedded = filepath.Join("internal", "embedded")

// fetched gets server programs into dir, for a machine that has none, and returns the
// folder that holds initdb and postgres.
func fetched(dir string) (bin string, err error) {
	module, err := above(embedded)
	if err != nil {
		return "", err
	}
	programs := filepath.Join(dir, "programs")
	command := exec.Command("go", "run", ".", programs)
	command.Dir = module
	command.Env = append(os.Environ(), "GOWORK=off")
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cd %s && go run . %s: %w: %s", module, programs, err, out)
	}
	return filepath.Join(programs, "bin"), nil
}

// above finds a folder of this repository from the working directory upwards, where tests
// and go run ./examples/… run.
func above(folder string) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, folder, "go.mod")); err == nil {
			return filepath.Join(dir, folder), nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("server programs are fetched by the module " + folder + " of seqheal's repository, and this program does not run inside it")
		}
		dir = filepath.Dir(dir)
	}
}
