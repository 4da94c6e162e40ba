package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// program finds a program of PostgreSQL's: Debian's of the newest version, which
// reads every older server, or that on the PATH.
func program(name string) (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil {
		return "", err
	}
	newest, path := 0, ""
	for _, candidate := range found {
		version, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(candidate))))
		if version > newest {
			newest, path = version, candidate
		}
	}
	if path != "" {
		return path, nil
	}
	return exec.LookPath(name)
}

// toolError is what a program said when it failed.
type toolError struct{ command, said string }

func (e *toolError) Error() string { return e.command + ": " + e.said }

// overtaken tells a tool that lost a race against the writers: they had taken an
// id that it brings, or each waited for the other. PostgreSQL undid what it did.
func overtaken(err error) bool {
	var failed *toolError
	return errors.As(err, &failed) &&
		(strings.Contains(failed.said, "duplicate key value") || strings.Contains(failed.said, "deadlock detected"))
}

// run runs a program with input, and returns what it printed.
func (s *shop) run(input, name string, arguments ...string) (string, error) {
	path, err := program(name)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, arguments...)
	cmd.Dir, cmd.Stdin = s.dir, strings.NewReader(input)
	var out, said strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return out.String(), &toolError{name + " " + strings.Join(arguments, " "), err.Error() + ": " + strings.TrimSpace(said.String())}
	}
	return out.String(), nil
}

func (s *shop) psql(database, script string) error {
	_, err := s.run(script, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", s.dsn("postgres", database))
	return err
}

// console gives PgBouncer a command.
func (s *shop) console(command string) error {
	host, port, err := net.SplitHostPort(s.bouncer.Address())
	if err != nil {
		return err
	}
	_, err = s.run("", "psql", "-X", "-q", "-h", host, "-p", port, "-U", "admin", "-d", "pgbouncer", "-c", command)
	return err
}

func (s *shop) dump(database, file string, options ...string) error {
	_, err := s.run("", "pg_dump", append([]string{"-Fc", "-f", file, "-d", s.dsn("postgres", database)}, options...)...)
	return err
}

func (s *shop) restore(database, file string, options ...string) error {
	_, err := s.run("", "pg_restore", append(append([]string{"-d", s.dsn("postgres", database)}, options...), file)...)
	return err
}

// moveBack sets sequences some values back, in a script for psql.
func moveBack(tables ...string) string {
	var script strings.Builder
	for _, table := range tables {
		fmt.Fprintf(&script, "SELECT setval('%s', greatest(1, last_value - 30)) FROM %[1]s \\g /dev/null\n", sequenceOf(table))
	}
	return script.String()
}
