// Package hostile holds black-box tests only: programs that run on plain GORM and on
// seqheal beside each other, on equal data. On healthy data everything that the
// caller and the database can see must be equal: rows, structs, RowsAffected, errors,
// what triggers did, the sequences' last values, and no incident. On drifted data
// seqheal must end where plain GORM ends on healthy data, ids aside, and report it.
//
//	go test ./internal/hostile -run Matrix                          what stands on the table × statement × mode × state
//	go test ./internal/hostile -run 'Create_|Tenants|Temporary|CutOver|RepeatableRead|SetRole|Grant|Prevention'
//	go test ./internal/hostile -run 'Healthy|Hints|Connection|Trouble|Report|Rights'
//
// Each program runs once on plain GORM on drifted data to show that the drift hurts;
// with SEQHEAL_PROVE=1 in each of its settings and cells.
package hostile
