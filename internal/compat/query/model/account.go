// Package model holds the model from which gorm.io/gen generates package query.
package model

// Account is a row of accounts.
type Account struct {
	ID    int64 `gorm:"primaryKey"`
	Email string
	Name  string
}
