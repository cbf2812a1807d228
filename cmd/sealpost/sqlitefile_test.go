package main

import (
	"encoding/binary"
	"fmt"
	"testing"
)

// What follows reads just enough of the SQLite file format (sqlite.org,
// "Database File Format") to say what each byte of a database file is for:
// tests spoil bytes of rows, and pass over space that no row uses.

// A cell is one column of one row, by its bytes in the file.
type cell struct {
	table    string // or index
	row      int    // in the order of the file
	column   int    // -1: the row's own header and key
	from, to int
}

func (c cell) String() string {
	if c.column < 0 {
		return fmt.Sprintf("%s row %d header", c.table, c.row)
	}
	return fmt.Sprintf("%s row %d column %d", c.table, c.row, c.column)
}

// A dbFile is a database without a journal.
type dbFile struct {
	t     testing.TB
	b     []byte
	page  int // bytes
	cells []cell
	rows  map[string]int
	roots map[string]int
	ints  map[cellKey]int // the columns that are numbers
}

type cellKey struct {
	table       string
	row, column int
}

// readDBFile lists every cell of every table and index.
func readDBFile(t testing.TB, b []byte) *dbFile {
	t.Helper()
	if len(b) < 100 || string(b[:15]) != "SQLite format 3" {
		t.Fatal("not an SQLite database")
	}
	f := &dbFile{t: t, b: b, page: int(binary.BigEndian.Uint16(b[16:])), rows: map[string]int{}, roots: map[string]int{}, ints: map[cellKey]int{}}
	if f.page == 1 {
		f.page = 1 << 16
	}
	const schema = "sqlite_schema"
	f.tree(schema, 1)
	for _, c := range f.cells {
		if c.column == 1 { // the name; column 3 is the root page
			f.roots[string(b[c.from:c.to])] = f.ints[cellKey{schema, c.row, 3}]
		}
	}
	for name, root := range f.roots {
		f.tree(name, root)
	}
	return f
}

// varint reads 1 to 9 bytes, seven bits each, big-endian.
func (f *dbFile) varint(at int) (v, next int) {
	for i := range 9 {
		d := f.b[at+i]
		if i == 8 {
			return v<<8 | int(d), at + 9
		}
		v = v<<7 | int(d&0x7f)
		if d < 0x80 {
			return v, at + i + 1
		}
	}
	panic("unreachable")
}

// tree walks one b-tree (format 1.6).
func (f *dbFile) tree(name string, page int) {
	start := (page - 1) * f.page
	head := start
	if page == 1 {
		head += 100
	}
	kind, count := f.b[head], int(binary.BigEndian.Uint16(f.b[head+3:]))
	pointers := head + 8
	if kind == 2 || kind == 5 { // interior: a page before each cell, and one after the last
		pointers += 4
		defer f.tree(name, int(binary.BigEndian.Uint32(f.b[head+8:])))
	}
	for i := range count {
		at := start + int(binary.BigEndian.Uint16(f.b[pointers+2*i:]))
		begin := at
		if kind == 2 || kind == 5 {
			f.tree(name, int(binary.BigEndian.Uint32(f.b[at:])))
			at += 4
		}
		if kind == 5 {
			continue // a key alone
		}
		size, at := f.varint(at)
		if kind == 13 {
			_, at = f.varint(at)
		}
		local := f.local(size, kind == 13)
		f.record(name, begin, at, local)
		if local < size {
			f.overflow(name, int(binary.BigEndian.Uint32(f.b[at+local:])), size-local)
		}
	}
}

// local is how much of a payload lies on the b-tree's own page.
func (f *dbFile) local(size int, leaf bool) int {
	most := (f.page-12)*64/255 - 23
	if leaf {
		most = f.page - 35
	}
	if size <= most {
		return size
	}
	least := (f.page-12)*32/255 - 23
	if k := least + (size-least)%(f.page-4); k <= most {
		return k
	}
	return least
}

// record splits a payload into its columns (format 2.1). A column that goes on
// in overflow pages is listed there.
func (f *dbFile) record(name string, begin, at, local int) {
	n := f.rows[name]
	f.rows[name]++
	headSize, next := f.varint(at)
	f.cells = append(f.cells, cell{name, n, -1, begin, at + headSize})
	value, end := at+headSize, at+local
	for column := 0; next < at+headSize; column++ {
		var serial int
		serial, next = f.varint(next)
		size := serialSize(serial)
		to := min(value+size, end)
		if v, ok := f.number(serial, value); ok {
			f.ints[cellKey{name, n, column}] = v
		}
		if to > value {
			f.cells = append(f.cells, cell{name, n, column, value, to})
		}
		value = min(value+size, end)
	}
}

// number is the value of a column that is a number (format 2.1).
func (f *dbFile) number(serial, at int) (v int, ok bool) {
	switch {
	case serial == 8 || serial == 9:
		return serial - 8, true
	case serial >= 1 && serial <= 6:
		v = int(int8(f.b[at]))
		for _, d := range f.b[at+1 : at+serialSize(serial)] {
			v = v<<8 | int(d)
		}
		return v, true
	}
	return 0, false
}

func (f *dbFile) overflow(name string, page, left int) {
	for left > 0 {
		start := (page - 1) * f.page
		here := min(left, f.page-4)
		f.cells = append(f.cells, cell{name + " overflow", f.rows[name] - 1, 0, start, start + 4 + here})
		left -= here
		page = int(binary.BigEndian.Uint32(f.b[start:]))
	}
}

// serialSize is the length of a value by its serial type.
func serialSize(serial int) int {
	switch {
	case serial >= 12:
		return (serial - 12) / 2
	case serial <= 4:
		return serial
	case serial == 5:
		return 6
	case serial <= 7:
		return 8
	}
	return 0 // 8 and 9 are the numbers 0 and 1
}
