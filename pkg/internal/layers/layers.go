// Package layers holds the rules of the house that a compiler does not check:
// which way imports point, which package is the one door of a third-party
// library, that every package says what it is for, and that a domain has one
// noun everywhere. Its tests parse the source files themselves, so that a
// violation is never hidden by the test cache. It has no code to call.
package layers
