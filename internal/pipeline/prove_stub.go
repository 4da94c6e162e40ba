package pipeline

import (
	"context"
	"database/sql"
)

func prove(_ context.Context, db *sql.DB) Support {
	if isPgx(db) {
		return Support{Way: OneTrip}
	}
	return Support{Reason: Reason{CauseDriver, "other"}}
}
