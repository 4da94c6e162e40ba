package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// childCrew makes this program the second process of the application: it holds
// the place as JSON.
const childCrew = "SEQHEAL_SOAK_CHILD"

// beChild is a crew that is told what to do on standard input, a line each, and
// answers a pause with what it has done.
func beChild() error {
	var at place
	if err := json.Unmarshal([]byte(os.Getenv(childCrew)), &at); err != nil {
		return err
	}
	c, err := newCrew(at, "b", *perProcess)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if in.Text() == "resume" {
			if err := c.resume(); err != nil {
				return err
			}
			continue
		}
		b, err := c.pause()
		if err != nil {
			return err
		}
		if err := out.Encode(b); err != nil {
			return err
		}
	}
	return errors.Join(c.close(), leaks())
}

// child is the second process, seen from the first.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

func startChild(at place) (*child, error) {
	text, err := json.Marshal(at)
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(os.Args[0], os.Args[1:]...)}
	c.cmd.Env = append(os.Environ(), childCrew+"="+string(text))
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = json.NewDecoder(out)
	return c, c.cmd.Start()
}

func (c *child) resume() error {
	_, err := fmt.Fprintln(c.in, "resume")
	return err
}

func (c *child) pause() (b batch, err error) {
	if _, err := fmt.Fprintln(c.in, "pause"); err != nil {
		return b, err
	}
	return b, c.out.Decode(&b)
}

func (c *child) close() error { return errors.Join(c.in.Close(), c.cmd.Wait()) }
