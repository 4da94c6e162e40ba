package herd_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/seqheal/seqheal/internal/proof/herd"
)

// child makes this test program run the load that it names, as JSON.
const child = "SEQHEAL_HERD_CHILD"

func TestMain(m *testing.M) {
	if load := os.Getenv(child); load != "" {
		if err := beChild(load); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// beChild opens the connections, says so, waits for a line on standard input,
// runs, and writes the result.
func beChild(text string) error {
	ctx := context.Background()
	var load herd.Load
	if err := json.Unmarshal([]byte(text), &load); err != nil {
		return err
	}
	h, err := herd.Open(ctx, load)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	return errors.Join(json.NewEncoder(os.Stdout).Encode(h.Run(ctx)), h.Close())
}

// run runs the herd in this process, or in several others at the same moment,
// which share out the connections.
func run(t *testing.T, dsn string, mode herd.Mode, shape herd.Shape, processes int, timeout time.Duration) herd.Result {
	t.Helper()
	load := herd.Load{DSN: dsn, Mode: mode, Way: herd.Seqheal, Shape: shape, Connections: connections / processes, Inserts: inserts, Timeout: timeout}
	if processes == 1 {
		load.Tag = "p0"
		h, err := herd.Open(t.Context(), load)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = h.Close() }()
		return h.Run(t.Context())
	}
	var children []*process
	for i := range processes {
		load.Tag = fmt.Sprintf("p%d", i)
		p, err := begin(t.Context(), load)
		if err != nil {
			t.Fatal(err)
		}
		children = append(children, p)
	}
	for _, p := range children {
		if _, err := fmt.Fprintln(p.in, "go"); err != nil {
			t.Fatal(err)
		}
	}
	var all herd.Result
	for _, p := range children {
		result, err := p.end()
		if err != nil {
			t.Fatal(err)
		}
		all.Add(result)
	}
	return all
}

// process is a child whose connections are open.
type process struct {
	cmd    *exec.Cmd
	in     io.Writer
	out    *bufio.Reader
	stderr bytes.Buffer
}

// begin starts a child and waits until its connections are open. It is killed
// when the test ends.
func begin(ctx context.Context, load herd.Load) (*process, error) {
	text, err := json.Marshal(load)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(ctx, os.Args[0])}
	p.cmd.WaitDelay = 10 * time.Second
	p.cmd.Env = append(os.Environ(), child+"="+string(text))
	p.cmd.Stderr = &p.stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := p.out.ReadString('\n'); err != nil {
		return nil, ended(errors.Join(err, p.cmd.Wait()), p.stderr.String())
	}
	return p, nil
}

// end waits for the child's result.
func (p *process) end() (result herd.Result, err error) {
	err = json.NewDecoder(p.out).Decode(&result)
	if err = errors.Join(err, p.cmd.Wait()); err != nil {
		err = ended(err, p.stderr.String())
	}
	return result, err
}
