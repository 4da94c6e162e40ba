//go:build !unix

package pgserver

import "os/exec"

// account runs the server's programs as the current user.
type account struct{}

func serverAccount() (*account, error) { return &account{}, nil }

func (*account) own(string) error { return nil }

func (*account) command(name string, arguments ...string) *exec.Cmd {
	return exec.Command(name, arguments...)
}

func ownGroup(*exec.Cmd) {}
