//go:build !unix

package main

// pageMemory is on the heap where there is no other that all systems share.
func pageMemory(n int) []byte { return make([]byte, n) }

func freePages([]byte) {}
