// Package browser holds the tests of the status page in a real browser, Debian's
// chromium without a window. It is a module of its own because of the library that
// drives it, and has no code but tests.
//
// SEQHEAL_SCREENSHOTS=<folder> writes the pictures of docs/ anew.
package browser
