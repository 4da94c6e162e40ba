package pgserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Standby starts a hot standby of the server, which it streams from under the
// application_name "standby"; SELECT pg_promote() makes it a server of its own.
// settings are as for Start. The server must be one that StartOwn gave; it is
// stopped for a moment, for the standby begins with a copy of its files: not every
// package of the server programs has pg_basebackup.
func (s *Server) Standby(settings ...string) (standby *Server, err error) {
	if s.run == nil {
		return nil, errNotOurs
	}
	account := s.run.account
	dir, err := account.folder("seqheal-standby-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	data := filepath.Join(dir, "data")
	if err := s.run.end(syscall.SIGINT); err != nil { // fast shutdown
		return nil, err
	}
	copying := account.command("cp", "-R", "-p", s.run.data, data)
	copying.Dir = dir
	out, err := copying.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("copy %s: %w: %s", s.run.data, err, out)
	}
	if err = errors.Join(err, s.Resume()); err != nil {
		return nil, err
	}
	signal := account.command("touch", filepath.Join(data, "standby.signal"))
	signal.Dir = dir
	if out, err := signal.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("standby.signal: %w: %s", err, out)
	}
	primary := fmt.Sprintf("host=127.0.0.1 port=%d user=postgres application_name=standby sslmode=disable", s.run.port)
	return run(account, s.run.bin, dir, data, append([]string{"primary_conninfo=" + primary}, settings...))
}
