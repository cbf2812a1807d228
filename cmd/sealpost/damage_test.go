package main

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fsckOf runs log fsck in this process.
func fsckOf(t testing.TB, dir string) (code int, report fsckReport, words string) {
	t.Helper()
	var out, errw bytes.Buffer
	code = run(t.Context(), []string{"log", "fsck", "--data", dir, "--json"}, nil, &out, &errw)
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &report); err != nil {
			t.Fatalf("%v: %s", err, out.Bytes())
		}
	}
	return code, report, errw.String()
}

// flip flips one bit of one byte of a file.
func flip(t testing.TB, path string, at int, bit byte) {
	t.Helper()
	b := mustRead(t, path)
	b[at] ^= bit
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// chance draws where to spoil. Its seed is printed by a test that fails.
func chance(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

// A ruin is a fresh copy of the quiet town for each byte that is spoiled.
type ruin struct {
	t    *testing.T
	town quietTown
	r    *rand.Rand
}

// newRuin shows first that fsck finds the honest folder sound; without this,
// nothing that it says later proves anything.
func newRuin(t *testing.T) ruin {
	q := quietFolders(t)
	code, report, words := fsckOf(t, q.copyOf(t))
	if code != 0 || !report.Sound || report.Statements == 0 || report.Statements != report.Size {
		t.Fatalf("honest folder: exit %d, %+v, %s", code, report, words)
	}
	return ruin{t, q, chance(t)}
}

// spoil flips one bit of a byte of a file of the relay and wants fsck to exit
// with 40 and to name it by one of these words.
func (r ruin) spoil(file string, at int, names ...string) {
	r.t.Helper()
	dir := r.town.copyOf(r.t)
	defer os.RemoveAll(dir)
	flip(r.t, filepath.Join(dir, relayDir, file), at, 1<<r.r.IntN(8))
	code, report, words := fsckOf(r.t, dir)
	all := strings.Join(report.Faults, "\n")
	named := slices.ContainsFunc(names, func(n string) bool { return strings.Contains(all, n) })
	if code != 40 || !named {
		r.t.Errorf("%s byte %d: exit %d, want 40 and one of %q named:\n%s\n%s", file, at, code, names, all, words)
	}
}

// R39: a byte of any tile, entry bundle or checkpoint.
func TestLogDamageIsNamed(t *testing.T) {
	r := newRuin(t)
	root := filepath.Join(r.town.dir, relayDir, "log")
	seen := map[string]int{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		if e.IsDir() {
			if name == ".state" { // not of the log: a relay that starts makes it again or refuses
				return fs.SkipDir
			}
			return nil
		}
		size := len(mustRead(t, path))
		every := max(1, size/4)
		if name == "checkpoint" {
			every = 5
		}
		seen[strings.SplitN(name, string(filepath.Separator), 3)[0]]++
		for at := r.r.IntN(every); at < size; at += every {
			r.spoil(filepath.Join("log", name), at, "log/"+filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen["tile"] < 4 || seen["checkpoint"] != 1 {
		t.Fatalf("too little was there to spoil: %v", seen)
	}
}

// R39: a byte of any row. A statement's row is named by its seq.
func TestRowDamageIsNamed(t *testing.T) {
	r := newRuin(t)
	const db = "sealpost.db"
	f := readDBFile(t, mustRead(t, filepath.Join(r.town.dir, relayDir, db)))
	each := 2 // bytes of each column of each table
	if long() {
		each = 20
	}
	seen := map[cellKey]int{}
	for _, i := range r.r.Perm(len(f.cells)) {
		c := f.cells[i]
		column := cellKey{c.table, 0, c.column}
		if gone := f.ints[cellKey{"messages", c.row, 7}] == 0; c.table == "messages" && gone && (c.column == 8 || c.column == 9) {
			continue // where an envelope lay that is gone
		}
		if c.column < 0 || !strings.Contains(tablesOfRecord, " "+c.table+" ") || seen[column] == each {
			continue
		}
		seen[column]++
		at := c.from + r.r.IntN(c.to-c.from)
		switch c.table {
		case "statements":
			r.spoil(db, at, fmt.Sprintf("seq %d: ", c.row))
		default:
			r.spoil(db, at, c.table, "seq ", "database")
		}
	}
	for _, column := range []int{1, 4, 5, 6, 7, 8} { // kind, tag, leaf, statement, salt, promise
		if seen[cellKey{"statements", 0, column}] == 0 {
			t.Errorf("no byte of column %d of statements was spoiled", column)
		}
	}
	if len(seen) < 25 {
		t.Errorf("only %d columns were spoiled", len(seen))
	}
}

// tablesOfRecord are the tables whose rows are evidence or lead to it.
const tablesOfRecord = " statements promises messages app_blocks waiting signing_keys key_events apps data_keys endpoints packages enrolments api_keys segments spent nonces epochs wrapped_keys "

// R39: a byte of a blob that is still there. What was erased says nothing.
func TestBlobDamageIsNamed(t *testing.T) {
	r := newRuin(t)
	f := readDBFile(t, mustRead(t, filepath.Join(r.town.dir, relayDir, "sealpost.db")))
	const segment = "spool/000000000001.seg"
	free := len(mustRead(t, filepath.Join(r.town.dir, relayDir, segment)))
	var live [][2]int
	for row := range f.rows["messages"] {
		value := func(column int) int { return f.ints[cellKey{"messages", row, column}] }
		if value(7) == 1 { // segment, start, length
			live = append(live, [2]int{value(8), value(8) + value(9)})
		}
	}
	if len(live) != len(r.town.waiting) {
		t.Fatalf("%d blobs are there for %d messages that wait", len(live), len(r.town.waiting))
	}
	for _, b := range live {
		for range 6 {
			r.spoil(segment, b[0]+r.r.IntN(b[1]-b[0]), fmt.Sprintf("%s at %d", filepath.Base(segment), b[0]))
		}
		r.spoil(segment, b[0], fmt.Sprintf("at %d", b[0]))
		r.spoil(segment, b[1]-1, fmt.Sprintf("at %d", b[0]))
		free = min(free, b[0])
	}
	if free > 0 { // before the first blob lies what was handed over
		dir := r.town.copyOf(t)
		flip(t, filepath.Join(dir, relayDir, segment), r.r.IntN(free), 1)
		if code, report, _ := fsckOf(t, dir); code != 0 {
			t.Errorf("a byte that nothing refers to: exit %d, %v", code, report.Faults)
		}
	}
}

// R39: a byte of a bundle.
func TestBundleDamageIsNamed(t *testing.T) {
	d := demoFolders(t)
	honest := mustRead(t, d.bundles(t)[0])
	path := filepath.Join(t.TempDir(), "spoiled.sealpost")
	verify := func(b []byte) (int, string) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		var out, errw bytes.Buffer
		code := run(t.Context(), []string{"verify", path, "--policy", d.policy()}, nil, &out, &errw)
		return code, out.String() + errw.String()
	}
	if code, words := verify(honest); code != 0 {
		t.Fatalf("honest bundle: exit %d\n%s", code, words)
	}
	r := chance(t)
	every := max(1, len(honest)/300)
	if long() {
		every = 1
	}
	for at := r.IntN(every); at < len(honest); at += every {
		b := bytes.Clone(honest)
		b[at] ^= 1 << r.IntN(8)
		if code, words := verify(b); code != 40 || !strings.Contains(words, "\n! refused: ") {
			t.Errorf("byte %d of %d: exit %d\n%s", at, len(b), code, words)
		}
	}
	for _, cut := range []int{0, 1, len(honest) / 2, len(honest) - 1} {
		if code, words := verify(honest[:cut]); code != 40 {
			t.Errorf("cut to %d bytes: exit %d\n%s", cut, code, words)
		}
	}
	if code, words := verify(append(bytes.Clone(honest), 0)); code != 40 {
		t.Errorf("one byte more: exit %d\n%s", code, words)
	}
}

// R39: any byte of the database file, its header and the inside of its trees
// included. Either fsck names something, or the byte says nothing: every row and
// the schema read as before.
func TestFileDamageIsNamed(t *testing.T) {
	r := newRuin(t)
	const db = "sealpost.db"
	honest := mustRead(t, filepath.Join(r.town.dir, relayDir, db))
	want, err := dump(t, honest)
	if err != nil {
		t.Fatal(err)
	}
	var used []int // free space is zeros
	for at, b := range honest {
		if b != 0 {
			used = append(used, at)
		}
	}
	n := 50 // places of each kind
	if long() {
		n = 5000
	}
	var places []int
	for range n {
		places = append(places, r.r.IntN(len(honest)), r.r.IntN(100), used[r.r.IntN(len(used))], used[r.r.IntN(len(used))]) // the second in the header
	}
	silent := 0
	for _, at := range places {
		dir := r.town.copyOf(t)
		path := filepath.Join(dir, relayDir, db)
		flip(t, path, at, 1<<r.r.IntN(8))
		spoiled := mustRead(t, path)
		code, report, words := fsckOf(t, dir)
		switch {
		case code == 40 && len(report.Faults) > 0:
		case code == 0:
			if got, err := dump(t, spoiled); err != nil || got != want {
				t.Errorf("byte %d of %d: it is found sound, and reads as something else: %v\n%s", at, len(honest), err, firstDifference(want, got))
			}
			silent++
		default:
			t.Errorf("byte %d of %d: exit %d, %v, %s", at, len(honest), code, report.Faults, words)
		}
		os.RemoveAll(dir)
	}
	t.Logf("%d of %d bytes said nothing", silent, len(places))
}

// meansLittle are the columns in which some change means nothing; why, and which,
// stands in the store's own test of every value.
const meansLittle = `'goose_db_version.tstamp', 'sqlite_sequence.seq', 'marks.fresh', 'marks.inbox', 'expiring.second', 'expiring.block'`

// dump is every row of a database file and its schema, as text.
func dump(t *testing.T, file []byte) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dump.db")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	// The table of migrations is made by their library; what counts is its columns.
	out, err := dumpRows(db, `SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name != 'goose_db_version' ORDER BY name`)
	if err != nil {
		return "", err
	}
	columns, err := dumpRows(db, `SELECT * FROM pragma_table_info('goose_db_version')`)
	out += columns
	if err != nil {
		return "", err
	}
	names, err := dumpRows(db, `SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name`)
	if err != nil {
		return "", err
	}
	for name := range strings.FieldsSeq(strings.NewReplacer("[", "", "]", "").Replace(names)) {
		columns, err := dumpRows(db, `SELECT coalesce(group_concat(`+columnText(name)+`), '2') FROM pragma_table_info('`+name+`') WHERE '`+name+`.' || name NOT IN (`+meansLittle+`)`)
		if err != nil {
			return "", err
		}
		rows, err := dumpRows(db, `SELECT 1, `+strings.Trim(columns, "[]\n")+` FROM `+name)
		if err != nil {
			return "", err
		}
		out += name + "\n" + rows
	}
	return out, nil
}

// columnText makes of a column's name what is read of it. Where a message's envelope
// is gone, where it lay means nothing.
func columnText(table string) string {
	if table != "messages" {
		return "name"
	}
	return `CASE WHEN name IN ('start', 'length') THEN 'iif(segment = 0, 0, ' || name || ')' ELSE name END`
}

func firstDifference(a, b string) string {
	to := strings.Split(b, "\n")
	for i, line := range strings.Split(a, "\n") {
		if i >= len(to) || to[i] != line {
			return line + "\nis now\n" + strings.Join(to[i:min(i+1, len(to))], "")
		}
	}
	return "more rows"
}

func dumpRows(db *sql.DB, text string) (out string, err error) {
	rows, err := db.Query(text)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	row, into := make([]any, len(columns)), make([]any, len(columns))
	for i := range row {
		into[i] = &row[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return "", err
		}
		out += fmt.Sprintf("%v\n", row)
	}
	return out, rows.Err()
}
