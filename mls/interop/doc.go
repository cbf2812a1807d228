// Package interop holds package mls to two engines that others wrote: ts-mls
// (TypeScript) and core-crypto (OpenMLS in Rust). They run in Node, as child
// processes of its tests, and nothing else in the project knows them. The package
// has tests only; the README beside it says what they prove and how to run them.
package interop
