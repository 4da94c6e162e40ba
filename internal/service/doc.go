// Package service holds the tests of examples/service, of its alert rules and of its
// dashboard. It is a module of its own so that the example has no requirement that only
// tests need, and has no code but tests. It runs promtool, Debian's package prometheus.
package service
