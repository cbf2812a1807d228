// Package js holds the second judge: another verifier of bundles, in
// TypeScript, written to spec/ (README.md). Nothing in Go uses it. The package
// has tests only, which hold both judges to one another.
package js
