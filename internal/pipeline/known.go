package pipeline

import "database/sql"

// Known returns what was proven of the pool, and false when nothing was yet.
func (p *Pools) Known(db *sql.DB) (Support, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	entry := p.known[db]
	if entry == nil || entry.proving {
		return Support{}, false
	}
	return entry.support, true
}
