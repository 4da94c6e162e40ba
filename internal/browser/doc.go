// Package browser holds the tests of the status page in a real browser, Debian's
// chromium without a window. It is a module of its own because of the library that
// drives it, and has no code but tests.
//
// SEQHEAL_SCREENSHOTS=<folder> takes the pictures of docs/ anew, those of a shop that is
// watched for eight minutes; with SEQHEAL_SCREENSHOTS_QUICK=1, for twelve seconds.
package browser
