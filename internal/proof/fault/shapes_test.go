package fault_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

type user struct {
	ID      int64
	Name    string
	OwnerID *int64
}

// owner is who users belong to, in each of the ways that GORM saves together.
type owner struct {
	ID       int64
	Name     string
	Children []user `gorm:"foreignKey:OwnerID"`
	FriendID *int64
	Friend   *user  `gorm:"foreignKey:FriendID"`
	Members  []user `gorm:"many2many:members"`
}

// drifted is the article's table, and tables for what else the caller's
// transaction does. No foreign key: it would hide a row that belongs to nobody.
const (
	drifted = `CREATE TABLE users (id bigserial PRIMARY KEY, name text, owner_id bigint); CREATE TABLE notes (text text);
CREATE TABLE owners (id bigserial PRIMARY KEY, name text, friend_id bigint);
CREATE TABLE members (owner_id bigint, user_id bigint, PRIMARY KEY (owner_id, user_id))`
	// rewind makes it anew: twenty rows with explicit ids, a sequence that gives 6
	// next.
	rewind = `DELETE FROM users; DELETE FROM notes; INSERT INTO users SELECT g, 'old ' || g FROM generate_series(1, 20) g;
SELECT setval('users_id_seq', 5)`
	// rewindOwners makes five owners, whose sequence is past them.
	rewindOwners = `; DELETE FROM owners; DELETE FROM members; INSERT INTO owners SELECT g, 'old ' || g FROM generate_series(1, 5) g;
SELECT setval('owners_id_seq', 5)`
	// rewindBoth lets the owners drift as well.
	rewindBoth = rewindOwners + `; SELECT setval('owners_id_seq', 1)`
)

// shape is a kind of insert that meets drift.
type shape struct {
	name string
	// rows are sent; those without an id are new. A row with an id exists.
	rows  []user
	build func(*gorm.DB) *gorm.DB
	// pieces are what is stored one after the other.
	pieces []piece
	// relation puts the rows into the new owner that is saved with them; nil for rows
	// that are inserted by themselves.
	relation func(*owner, []user)
	// again is what rewind leaves to the shape.
	again string
	// heals is how many tables have drifted.
	heals int
	// drops tells that drift drops or overwrites rows without an error.
	drops bool
}

// piece is what one INSERT of a shape stores.
type piece int

const (
	itsRows piece = iota
	itsOwner
	itsMembers
)

func unchanged(db *gorm.DB) *gorm.DB { return db }

func upsert(onConflict clause.OnConflict) func(*gorm.DB) *gorm.DB {
	return func(db *gorm.DB) *gorm.DB { return db.Clauses(onConflict) }
}

var justRows = []piece{itsRows}

var shapes = []shape{
	{name: "one row", rows: []user{{Name: "new"}}, build: unchanged, pieces: justRows, heals: 1},
	{name: "two rows", rows: []user{{Name: "new"}, {Name: "newer"}}, build: unchanged, pieces: justRows, heals: 1},
	{name: mixed, rows: []user{{ID: 3, Name: "named"}, {Name: "new"}}, build: upsert(clause.OnConflict{UpdateAll: true}), pieces: justRows, heals: 1, drops: true},
	{name: "do nothing", rows: []user{{Name: "new"}}, build: upsert(clause.OnConflict{DoNothing: true}), pieces: justRows, heals: 1, drops: true},
	{name: "do nothing, two rows", rows: []user{{Name: "new"}, {Name: "newer"}}, build: upsert(clause.OnConflict{DoNothing: true}), pieces: justRows, heals: 1, drops: true},
}

// families are saves of an owner with its users, which GORM sends as upserts.
var families = []shape{
	{name: "has many", rows: []user{{Name: "new"}}, build: unchanged, pieces: []piece{itsOwner, itsRows},
		relation: hasMany, again: rewindOwners, heals: 1, drops: true},
	{name: oneOld, rows: []user{{ID: 3, Name: "old 3"}, {Name: "new"}}, build: unchanged, pieces: []piece{itsOwner, itsRows},
		relation: hasMany, again: rewindOwners, heals: 1, drops: true},
	{name: "belongs to", rows: []user{{Name: "new"}}, build: unchanged, pieces: []piece{itsRows, itsOwner},
		relation: func(o *owner, rows []user) { o.Friend = &rows[0] }, again: rewindOwners, heals: 1, drops: true},
	{name: manyToMany, rows: []user{{Name: "new"}, {Name: "newer"}}, build: unchanged, pieces: []piece{itsOwner, itsRows, itsMembers},
		relation: func(o *owner, rows []user) { o.Members = rows }, again: rewindBoth, heals: 2, drops: true},
}

// The shapes that the short variant meets in more than one mode, or alone of their kind.
const (
	mixed      = "mixed upsert"
	oneOld     = "has many, one of them old"
	manyToMany = "many to many"
)

func hasMany(o *owner, rows []user) { o.Children = rows }

// send inserts the shape's rows and returns them, and the id of their owner, as the
// caller then has them.
func (s shape) send(db *gorm.DB) (rows []user, ownerID int64, err error) {
	rows = slices.Clone(s.rows)
	switch {
	case s.relation != nil:
		o := owner{Name: "owner"}
		s.relation(&o, rows)
		err = s.build(db).Create(&o).Error
		ownerID = o.ID
	case len(rows) == 1:
		err = s.build(db).Create(&rows[0]).Error
	default:
		err = s.build(db).Create(&rows).Error
	}
	return rows, ownerID, err
}

// contents are all rows that an insert can store: users by their ids, and a line
// for each owner and member.
type contents struct {
	users  map[int64]string
	others string
}

func (c contents) equal(other contents) bool {
	return c.others == other.others && maps.Equal(c.users, other.users)
}

func (c contents) String() string {
	return text(c.users) + "; " + strings.ReplaceAll(c.others, "\n", " ")
}

// oldRows is what rewind leaves in users.
func oldRows() map[int64]string {
	rows := map[int64]string{}
	for id := range int64(20) {
		rows[id+1] = fmt.Sprintf("old %d", id+1)
	}
	return rows
}

// oldOwners is what rewindOwners leaves in owners.
func oldOwners() (lines []string) {
	for id := range 5 {
		lines = append(lines, fmt.Sprintf("owner|%d|old %d|∅", id+1, id+1))
	}
	return lines
}

// theOthers reads owners and members as contents has them.
const theOthers = `SELECT 'owner', id, name, friend_id FROM owners UNION ALL SELECT 'member', owner_id, NULL, user_id FROM members ORDER BY 1 DESC, 2, 4`

// with is the old rows and the first pieces of a shape, at the ids that they have.
func (s shape) with(pieces int, rows []user, ownerID int64) contents {
	want := contents{users: oldRows()}
	var lines []string
	if s.relation != nil {
		lines = oldOwners()
	}
	for _, piece := range s.pieces[:pieces] {
		switch piece {
		case itsOwner:
			friend := "∅"
			if s.name == "belongs to" {
				friend = fmt.Sprint(rows[0].ID)
			}
			lines = append(lines, fmt.Sprintf("owner|%d|owner|%s", ownerID, friend))
		case itsRows:
			for _, row := range rows {
				name := row.Name
				if s.pieces[0] == itsOwner && len(s.pieces) == 2 {
					name += fmt.Sprintf(" of %d", ownerID)
				}
				want.users[row.ID] = name
			}
		case itsMembers:
			for _, row := range rows {
				lines = append(lines, fmt.Sprintf("member|%d|∅|%d", ownerID, row.ID))
			}
		}
	}
	want.others = strings.Join(lines, "\n")
	return want
}

// given counts the pieces whose ids the caller has, from the first one on. some
// tells whether it has an id of a piece behind those.
func (s shape) given(rows []user, ownerID int64, err error) (pieces int, some bool) {
	all := true
	for _, piece := range s.pieces {
		has, hasSome := err == nil, false
		switch piece {
		case itsOwner:
			has = ownerID != 0
			hasSome = has
		case itsRows:
			has = true
			for i, row := range rows {
				has = has && row.ID != 0
				hasSome = hasSome || row.ID != s.rows[i].ID
			}
		}
		if all = all && has; all {
			pieces++
		} else {
			some = some || hasSome
		}
	}
	return pieces, some
}
