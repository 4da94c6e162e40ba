package proof

import (
	_ "github.com/jackc/pgx/v5"
	_ "github.com/seqheal/seqheal/plugin"
	_ "go.uber.org/goleak"
	_ "gorm.io/driver/postgres"
	_ "gorm.io/gorm"
	_ "pgregory.net/rapid"
)
