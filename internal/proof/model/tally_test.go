package model

import (
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// counts is how often things happened in all the programs: a model that never
// meets drift, or never a kind of statement, proves nothing.
type counts struct {
	mutex sync.Mutex
	of    map[string]int
}

var tally = counts{of: map[string]int{}}

func (c *counts) add(names ...string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for _, name := range names {
		c.of[name]++
	}
}

func (c *counts) check(t *testing.T) {
	var names []string
	for name := range c.of {
		names = append(names, name)
	}
	sort.Strings(names)
	var b strings.Builder
	for _, name := range names {
		b.WriteString("\n" + name + ": ")
		b.WriteString(strings.Repeat(" ", max(0, 60-len(name))))
		b.WriteString(strconv.Itoa(c.of[name]))
	}
	t.Log(b.String())
}
