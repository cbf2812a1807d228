//go:build unix

package main

import "syscall"

// pageMemory is memory beside the heap, zero, of at least n bytes.
func pageMemory(n int) []byte {
	b, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		panic("bench: no memory: " + err.Error()) // as where the heap has none
	}
	return b
}

// freePages gives pageMemory's whole slice back.
func freePages(b []byte) {
	if err := syscall.Munmap(b); err != nil {
		panic("bench: memory that is none: " + err.Error())
	}
}
