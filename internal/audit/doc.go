// Package audit holds what a relay promised against what its log shows. It
// reads the log's public files, as anybody can, and the bundles of those who
// were promised something.
//
// # Contract
//
// It judges nothing by itself: it puts what it read into a bundle and asks
// package evidence, so that what it reports is what any third party will find
// in the file that it writes. A log that it cannot read is an error, and then
// nothing is known.
//
// # What it will never do
//
// Trust a tile, write to a log, or need the relay's word.
package audit
