//go:build unix

package compat

import (
	"fmt"
	"testing"

	"github.com/seqheal/seqheal/internal/pgserver"
	"github.com/seqheal/seqheal/internal/pgtest"
)

// startPgpool starts Pgpool-II before a primary and a standby, which gets every read that
// may be balanced.
func startPgpool(t *testing.T, primary, standby *pgserver.Server, settings string) (dsn string) {
	t.Helper()
	path := program(t, "pgpool", "pgpool2")
	port := freePort(t)
	keepRunning(t, map[string]string{"pcp.conf": "", "pool_passwd": "", "pgpool.conf": fmt.Sprintf(`
backend_clustering_mode = 'streaming_replication'
listen_addresses = '127.0.0.1'
port = %d
pcp_listen_addresses = '127.0.0.1'
pcp_port = %d
socket_dir = '$D'
pcp_socket_dir = '$D'
wd_ipc_socket_dir = '$D'
pid_file_name = '$D/pid'
logdir = '$D'
work_dir = '$D'
backend_hostname0 = '127.0.0.1'
backend_port0 = %s
backend_weight0 = 0
backend_flag0 = 'ALWAYS_PRIMARY|DISALLOW_TO_FAILOVER'
backend_hostname1 = '127.0.0.1'
backend_port1 = %s
backend_weight1 = 1
backend_flag1 = 'DISALLOW_TO_FAILOVER'
num_init_children = 24
max_pool = 1
load_balance_mode = on
sr_check_period = 0
health_check_period = 0
pool_passwd = ''
enable_pool_hba = off
%s
`, port, freePort(t), portOf(t, primary), portOf(t, standby), settings)},
		path, "-n", "-f", "$D/pgpool.conf", "-F", "$D/pcp.conf")
	dsn = fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", port)
	pool := poolTo(t, dsn)
	pgtest.Eventually(t, "Pgpool-II to answer", func() bool { return pool.Ping() == nil })
	return dsn
}

func portOf(t *testing.T, s *pgserver.Server) (port string) {
	t.Helper()
	if err := poolTo(t, s.DSN()).QueryRow("SHOW port").Scan(&port); err != nil {
		t.Fatal(err)
	}
	return port
}

// P1, P5: Pgpool-II sends reads to a standby that is behind, in transactions too. The
// plugin's questions stay on the primary, where the rows are.
func TestHealsThroughPgpool(t *testing.T) {
	t.Parallel()
	_ = program(t, "pgpool", "pgpool2")
	for _, balance := range []string{"off", "transaction", "always"} {
		t.Run("disable_load_balance_on_write "+balance, func(t *testing.T) {
			t.Parallel()
			primary := ownServer(t)
			standby, err := primary.Standby()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(standby.Stop)
			atPrimary, atStandby := poolTo(t, primary.DSN()), poolTo(t, standby.DSN())
			execute(t, atPrimary, "CREATE TABLE sync (n int)")
			through := startPgpool(t, primary, standby, "disable_load_balance_on_write = '"+balance+"'")
			everyShapeThrough(t, through, atPrimary, func(t *testing.T) {
				// The standby has the tables and not their rows.
				pgtest.Eventually(t, "the standby to follow", func() bool {
					return number(t, atPrimary, "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()") == 1
				})
				execute(t, atStandby, "SELECT pg_wal_replay_pause()")
				t.Cleanup(func() { execute(t, atStandby, "SELECT pg_wal_replay_resume()") })
			})
		})
	}
}
