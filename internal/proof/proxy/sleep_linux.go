package proxy

import (
	"syscall"
	"time"
)

// sleep sleeps for a short time, or less. The kernel's own sleep is exact to a
// tenth of a millisecond where a timer of the runtime's is to one.
func sleep(d time.Duration) {
	spec := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&spec, nil)
}
