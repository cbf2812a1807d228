package store_test

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/store"
	"github.com/sealpost/sealpost/internal/store/storetest"
)

// wellLived is a world with a row of every kind in every table: messages at each
// stage of the road and at each end, for devices that can be reached, cannot, and
// are revoked.
func wellLived(t *testing.T) *storetest.World {
	ctx := context.Background()
	w, _ := lived(t)
	db := w.Store.(*store.DB)
	r := storetest.Recipient("several devices")
	a, b := w.Enrol(r, w.Token("a"), w.Token("a2")), w.Enrol(r, w.Token("b"))
	mute := w.Enrol(storetest.Recipient("no endpoint"))
	lost := w.Enrol(storetest.Recipient("lost phone"), w.Token("lost"))
	hour := func(c *sealpost.Commitment) { c.Expires = c.Created.Add(time.Hour) }
	message := func(d storetest.Device) sealpost.Hold { return w.Message(d.Recipient, hour) }
	w.Must(w.PutPackages(ctx, a.ID, [][]byte{[]byte("one"), []byte("two")}, []byte("last")))

	db.InboxMost(1) // what is open now goes to the inbox on disk
	early := message(a)
	w.MustHold(early, message(mute))
	w.Must(w.Sweep(ctx, w.Now))

	gone := message(a) // and swept
	w.MustHold(gone, w.Receipt(gone, a, sealpost.HandedOver), w.Receipt(gone, b, sealpost.Decrypted), w.Receipt(gone, b, sealpost.Displayed))
	w.CloseAs(gone.ID, sealpost.Delivered)
	w.Must(w.Sweep(ctx, w.Now))
	expire := func() { // a message, and what was open before
		m := w.Message(mute.Recipient)
		w.MustHold(m)
		w.Now = m.Commitment.Expires.Add(time.Second)
		closings, err := w.Closable(ctx, w.Now, 100)
		w.Must(err)
		for _, c := range closings {
			w.MustHold(w.Outcome(c))
		}
	}
	expire()
	w.Must(w.Sweep(ctx, w.Now))
	spent := message(a)
	w.MustHold(spent, w.Receipt(spent, a, sealpost.HandedOver), w.Receipt(spent, b, sealpost.HandedOver))
	half := message(a)
	w.MustHold(half, w.Receipt(half, a, sealpost.Decrypted))
	w.CloseAs(half.ID, sealpost.Delivered)
	refused := message(mute)
	w.MustHold(refused, w.Receipt(refused, mute, sealpost.Mismatch))
	w.CloseAs(refused.ID, sealpost.Refused)
	failed := message(mute)
	w.MustHold(failed, w.Attempt(failed, mute, 1, sealpost.Invalid, 0))
	w.CloseAs(failed.ID, sealpost.Undeliverable)
	held := w.Message(a.Recipient, hour, func(c *sealpost.Commitment) { c.Release = sealpost.ReleaseHeld })
	w.MustHold(held)
	retried, taken := message(a), message(a)
	w.MustHold(retried, taken)
	w.Work(all)
	w.MustHold(w.Attempt(retried, a, 1, sealpost.Transient, w.Now+5000), w.Attempt(retried, b, 1, sealpost.EndpointGone, 0),
		w.Attempt(taken, a, 1, sealpost.Accepted, 0), w.Attempt(taken, a, 2, sealpost.Transient, w.Now+5000))
	onLost := message(lost)
	w.MustHold(onLost)
	w.MustHold(w.RevokeEvent(lost))
	w.CloseAs(onLost.ID, sealpost.Undeliverable)
	w.HoldOne(taken) // again: its envelope was spooled for nothing
	carrying := message(a)
	carrying.Commits = []sealpost.EpochCommit{{Place: sha256.Sum256([]byte("p")), Commit: sha256.Sum256([]byte("c"))}}
	w.MustHold(carrying)
	unseen := message(a) // by b, which is woken still
	w.MustHold(unseen, w.Receipt(unseen, a, sealpost.Decrypted))
	w.CloseAs(unseen.ID, sealpost.Delivered)
	expire()
	w.Must(db.SweepExpired(ctx, w.Now)) // and its envelope is not erased yet
	expire()

	w.Must(w.PutAPIKey(ctx, sealpost.APIKey{Name: "revoked", App: w.App, Hash: sealpost.Hash{1}, Created: w.Now}))
	w.Must(w.RevokeAPIKey(ctx, w.App, "revoked", w.Now))
	if _, err := w.Nonce(ctx, a.ID, [16]byte{1}, w.Now+1); err != nil {
		t.Fatal(err)
	}
	w.Invite(r)
	w.App = "second-bank"
	key, err := sealpost.GenerateKey(sealpost.EdDSA, crand.Reader)
	w.Must(err)
	w.MustHold(w.SenderEvent(key, sealpost.Enrol), w.Message(storetest.Recipient("nobody"), hour), w.SenderEvent(key, sealpost.Revoke))
	return w
}

// routesText gives every route as a row: its message, and its bytes in
// hexadecimal digits (routes.go).
const routesText = `(SELECT m.seq, m.outcome, m.segment, m.release, m.turn, substr(hex(m.routes), 50 * n.value + 1, 50) AS h
	FROM messages m, json_each('[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]') n WHERE length(m.routes) >= 25 * (n.value + 1)) r`

// undetected are the columns in which some change means nothing, so that fsck
// cannot tell: where, as SQL over the row, and why.
var undetected = map[string]struct{ where, why string }{
	"goose_db_version.tstamp": {`1`, "when a migration was made; nothing reads it"},
	"sqlite_sequence.seq": {`name = 'endpoints' AND seq >= (SELECT max(id) FROM endpoints) AND printf('%012X', seq) >= (SELECT max(substr(h, 37, 12)) FROM ` + routesText + `)`,
		"the number of the last endpoint; above those in use one counts as well from here as from there"},
	"messages.start":  {`segment = 0`, "where an envelope lay that is gone"},
	"messages.length": {`segment = 0`, "how long an envelope was that is gone"},
	"marks.fresh": {`fresh BETWEEN 0 AND (SELECT max(seq) + 1 FROM statements) AND NOT EXISTS (SELECT 1 FROM ` + routesText + `
		WHERE r.release != 1 AND substr(h, 13, 1) = '1' AND (r.turn = 0x400000000000) != (r.seq >= fresh))`,
		"no message with a route to be tried lies between the two marks, so both say the same"},
	"marks.inbox": {`inbox BETWEEN 0 AND (SELECT max(seq) + 1 FROM statements) AND NOT EXISTS (SELECT 1 FROM ` + routesText + `
		JOIN signing_keys k ON printf('%012X', k.id) = substr(h, 1, 12) AND k.revoked = 0
		WHERE r.outcome IN (0, 1) AND r.segment != 0 AND substr(h, 14, 1) IN ('0', '1')
		AND (r.seq < inbox) != EXISTS (SELECT 1 FROM waiting w WHERE w.message = r.seq AND w.device = k.id))`,
		"no route that waits lies between the two marks, so both say the same"},
	"expiring.second": {expiringAnew, "the messages of this row have ended and their envelopes are gone, and so have those of the other: a sweep would drop either"},
	"expiring.block":  {expiringAnew, "as the second"},
}

const expiringAnew = `EXISTS (SELECT 1 FROM messages m WHERE m.seq / 1024 = block AND m.expires / 1000 = second)
	AND NOT EXISTS (SELECT 1 FROM messages m WHERE (m.outcome = 0 OR m.segment != 0)
	AND NOT EXISTS (SELECT 1 FROM expiring e WHERE e.block = m.seq / 1024 AND e.second = m.expires / 1000))`

// A table is one table of the store, as its own schema describes it.
type table struct {
	name    string
	key     []string // columns of the primary key, or rowid
	columns []column
}

type column struct {
	name, kind string
	nullable   bool
}

func tables(t *testing.T, db *sql.DB) (out []table) {
	rows, err := db.Query(`SELECT m.name, p.name, upper(p.type), p."notnull" = 0 AND p.pk = 0, p.pk FROM sqlite_schema m, pragma_table_info(m.name) p WHERE m.type = 'table' ORDER BY m.name, p.cid`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var c column
		var pk int
		if err := rows.Scan(&name, &c.name, &c.kind, &c.nullable, &pk); err != nil {
			t.Fatal(err)
		}
		if len(out) == 0 || out[len(out)-1].name != name {
			out = append(out, table{name: name})
		}
		last := &out[len(out)-1]
		last.columns = append(last.columns, c)
		if pk > 0 {
			last.key = append(last.key, c.name)
		}
	}
	for i := range out {
		if out[i].key == nil {
			out[i].key = []string{"rowid"}
		}
	}
	return out
}

// changes are other values than a column has: a bit of a number, a byte of a
// blob or text at its ends or in the middle, and nothing where there may be nothing.
func changes(was any, c column) (out []any) {
	switch v := was.(type) {
	case int64:
		for _, bit := range []int{0, 1, 2, 4, 9, 33, 63} {
			out = append(out, v^1<<bit)
		}
	case []byte:
		if len(v) == 0 {
			return []any{[]byte{0}, make([]byte, 25)}
		}
		for _, at := range []int{0, len(v) / 2, len(v) - 1} {
			b := bytes.Clone(v)
			b[at] ^= 0x10
			out = append(out, b)
		}
	case string:
		out = append(out, string(v[0]^1)+v[1:], v[:len(v)-1]+string(v[len(v)-1]^1))
	case nil:
		if c.kind == "BLOB" {
			return []any{make([]byte, 16)}
		}
		return []any{int64(0), int64(1), int64(2)}
	}
	if c.nullable {
		out = append(out, nil)
	}
	return out
}

// R39: any value of any row of any table is changed, and fsck names the row. A
// table or column that comes later is tried too, as nobody lists them here.
func TestFsckNamesEveryValue(t *testing.T) {
	w := wellLived(t)
	if r := fsck(t, w); r.Faulty != 0 {
		t.Fatalf("an honest store: %v", r.Faults)
	}
	db, err := sql.Open("sqlite", filepath.Join(w.Place(), "data", "sealpost.db"))
	w.Must(err)
	defer db.Close()
	db.SetMaxOpenConns(1)
	_, err = db.Exec(`PRAGMA synchronous = OFF`)
	w.Must(err)
	seed, most := rand.Uint64(), 3 // rows of each column
	if long() {
		most = 1 << 10
	}
	t.Logf("seed %d", seed)
	draw, tried, listed := rand.New(rand.NewPCG(seed, 0)), 0, 0
	for _, tb := range tables(t, db) {
		keys := keysOf(t, db, tb)
		if len(keys) == 0 {
			t.Errorf("%s has no row, so nothing of it was tried", tb.name)
		}
		for _, c := range tb.columns {
			if _, some := undetected[tb.name+"."+c.name]; some {
				listed++
			}
			for n, i := range draw.Perm(len(keys)) {
				if n == most {
					break
				}
				for _, m := range spoilValue(t, w, db, draw, tb, c, keys[i]) {
					t.Error(m)
				}
				tried++
			}
		}
	}
	if r := fsck(t, w); r.Faulty != 0 {
		t.Fatalf("everything is mended, and yet: %v", r.Faults)
	}
	if listed != len(undetected) {
		t.Errorf("%d columns are listed as undetected, and %d of them exist", len(undetected), listed)
	}
	t.Logf("%d values", tried)
}

func long() bool { return os.Getenv("SEALPOST_LONG") != "" }

// keysOf gives the key of each row of a table.
func keysOf(t *testing.T, db *sql.DB, tb table) (out [][]any) {
	rows, err := db.Query(`SELECT ` + strings.Join(tb.key, ", ") + ` FROM ` + tb.name)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		key, into := make([]any, len(tb.key)), make([]any, len(tb.key))
		for i := range key {
			into[i] = &key[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		out = append(out, key)
	}
	return out
}

// spoilValue changes one value in two ways, and gives what fsck did not name
// although it means something.
func spoilValue(t *testing.T, w *storetest.World, db *sql.DB, draw *rand.Rand, tb table, c column, key []any) (missed []string) {
	where := ` WHERE ` + strings.Join(tb.key, ` = ? AND `) + ` = ?`
	var was any
	if err := db.QueryRow(`SELECT `+c.name+` FROM `+tb.name+where, key...).Scan(&was); err != nil {
		t.Fatal(err)
	}
	if b, ok := was.([]byte); ok && b == nil {
		was = []byte{} // of no bytes, which is not NULL
	}
	ways := changes(was, c)
	for n, i := range draw.Perm(len(ways)) {
		bad := ways[i]
		if n == 2 && !long() {
			break
		}
		if _, err := db.Exec(`UPDATE `+tb.name+` SET `+c.name+` = ?`+where, append([]any{bad}, key...)...); err != nil {
			if strings.Contains(err.Error(), "constraint failed") {
				continue // another row has that key
			}
			t.Fatal(err)
		}
		now := slices.Clone(key)
		if i := slices.Index(tb.key, c.name); i >= 0 {
			now[i] = bad
		}
		meant := true
		if u, ok := undetected[tb.name+"."+c.name]; ok {
			if err := db.QueryRow(`SELECT NOT coalesce(`+u.where+`, 0) FROM `+tb.name+where, now...).Scan(&meant); err != nil {
				t.Fatal(err)
			}
		}
		report := fsck(t, w)
		if meant && !slices.ContainsFunc(report.Faults, func(f store.Fault) bool { return namesRow(f, tb, key) || namesRow(f, tb, now) }) {
			missed = append(missed, fmt.Sprintf("%s.%s of row %v: %v for %v: %v", tb.name, c.name, key, bad, was, report.Faults))
		}
		if _, err := db.Exec(`UPDATE `+tb.name+` SET `+c.name+` = ?`+where, append([]any{was}, now...)...); err != nil {
			t.Fatal(err)
		}
	}
	return missed
}

// namesRow says whether a fault names a row: by its table and key, or by the seq
// of the statement or message that the table's rows are keyed by.
func namesRow(f store.Fault, tb table, key []any) bool {
	words := make([]string, len(key))
	for i, k := range key {
		switch k := k.(type) {
		case []byte:
			words[i] = fmt.Sprintf("%x", k)
		case string:
			words[i] = fmt.Sprintf("%q", k)
		default:
			words[i] = fmt.Sprint(k)
		}
	}
	switch s := f.String(); tb.name {
	case "statements", "messages", "key_events":
		return strings.HasPrefix(s, "seq "+words[0]+": ")
	case "sqlite_sequence": // by its table's name
		return strings.Contains(s, "sqlite_sequence row")
	default:
		return strings.Contains(s, tb.name+" row "+strings.Join(words, "/")+":") || strings.Contains(s, tb.name+" row "+strings.Join(words, "/")+" ")
	}
}

const all = 1 << 40 // a log that holds everything

// Damage that Open meets before anything can be asked is named, and nothing is
// done about it: no new key is drawn, and no file of the spool is removed.
func TestOpenNamesDamage(t *testing.T) {
	for name, c := range map[string]struct{ spoil, want string }{
		"a wrapped key":              {`UPDATE wrapped_keys SET wrapped = zeroblob(60) WHERE name LIKE '%routing%'`, `wrapped_keys row "sealpost/store/routing/v1"`},
		"the name of a wrapped key":  {`UPDATE wrapped_keys SET name = 'sealpost/store/rOuting/v1' WHERE name LIKE '%routing%'`, `wrapped_keys row "sealpost/store/rOuting/v1"`},
		"a wrapped key is gone":      {`DELETE FROM wrapped_keys WHERE name LIKE '%lookup%'`, `wrapped_keys row "sealpost/store/lookup/v1" is missing`},
		"the number of a segment":    {`UPDATE segments SET id = 17`, "segments row 17"},
		"the end of a segment":       {`UPDATE segments SET tail = tail - 1`, "segments row 1"},
		"the marks are gone":         {`DELETE FROM marks`, "marks row 1"},
		"a migration's number":       {`UPDATE goose_db_version SET version_id = 17 WHERE id = 2`, "goose_db_version row 2"},
		"a migration is not applied": {`UPDATE goose_db_version SET is_applied = 0 WHERE id = 2`, "goose_db_version row 2"},
		"a table's definition":       {`PRAGMA writable_schema = 1; UPDATE sqlite_schema SET sql = replace(sql, 'promise', 'qromise') WHERE name = 'statements'`, "sqlite_schema"},
		"an index is gone":           {`DROP INDEX messages_turn`, "sqlite_schema"},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := lived(t)
			w.Reopen()
			spoil(t, w, c.spoil)
			refuses(t, w, c.want)
		})
	}
	t.Run("the file's first bytes", func(t *testing.T) {
		w, _ := lived(t)
		w.Must(w.Store.Close())
		path := filepath.Join(w.Place(), "data", "sealpost.db")
		b, err := os.ReadFile(path)
		w.Must(err)
		b[3] ^= 1
		w.Must(os.WriteFile(path, b, 0o600))
		refuses(t, w, "sealpost.db")
	})
}

// refuses wants Open to name damage and to leave the folder as it is.
func refuses(t *testing.T, w *storetest.World, want string) {
	t.Helper()
	w.Must(w.Store.Close())
	spool := filepath.Join(w.Place(), "data", "spool")
	before, err := os.ReadDir(spool)
	w.Must(err)
	keys, err := store.NewFileKeys(filepath.Join(w.Place(), "kek"))
	w.Must(err)
	db, err := store.Open(context.Background(), store.Config{Dir: filepath.Join(w.Place(), "data"), Keys: keys, Now: w.Now.Time})
	if err == nil {
		w.Must(db.Close())
	}
	if !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want damage that names %q", err, want)
	}
	if after, err := os.ReadDir(spool); err != nil || len(after) != len(before) || len(after) == 0 {
		t.Errorf("the spool had %d segments and has %d, %v", len(before), len(after), err)
	}
}

// R39: a message whose envelope is given up, and that is made to refer to it
// before it is erased, is named, though its row of expiring still stands for
// another.
func TestFsckNamesAGivenUpEnvelope(t *testing.T) {
	w := storetest.NewWorld(t, open)
	ended, waiting := w.Message(storetest.Recipient("nobody")), w.Message(storetest.Recipient("nobody"))
	held := w.MustHold(ended, waiting)
	w.Now = ended.Commitment.Expires.Add(time.Second)
	w.CloseAs(ended.ID, sealpost.Expired)
	w.Must(w.Store.(*store.DB).SweepExpired(context.Background(), w.Now))
	if r := fsck(t, w); r.Faulty != 0 || r.Blobs != 1 {
		t.Fatalf("an honest store: %+v", r)
	}
	spoil(t, w, `UPDATE messages SET segment = 1 WHERE seq = ?`, int64(held[0].Record.Seq))
	if r := fsck(t, w); !names(r, "messages", fmt.Sprint(held[0].Record.Seq), true) {
		t.Errorf("%v", r.Faults)
	}
}

// R39: a row that something else leads to is missed when it is gone.
func TestFsckMissesEveryRow(t *testing.T) {
	w := wellLived(t)
	db, err := sql.Open("sqlite", filepath.Join(w.Place(), "data", "sealpost.db"))
	w.Must(err)
	defer db.Close()
	db.SetMaxOpenConns(1)
	do := func(text string, args ...any) {
		t.Helper()
		_, err := db.Exec(text, args...)
		w.Must(err)
	}
	needed := map[string]string{"statements": `1`, "messages": `1`, "promises": `1`, "app_blocks": `1`, "waiting": `1`, "marks": `1`,
		"key_events": `1`, "signing_keys": `1`, "data_keys": `1`, "wrapped_keys": `1`,
		"expiring": `EXISTS (SELECT 1 FROM messages m WHERE (m.outcome = 0 OR m.segment != 0) AND m.seq / 1024 = block AND m.expires / 1000 = second)`}
	for _, tb := range tables(t, db) {
		if needed[tb.name] == "" {
			continue
		}
		tried := 0
		for _, key := range keysOf(t, db, tb) {
			where := ` WHERE ` + strings.Join(tb.key, ` = ? AND `) + ` = ? AND ` + needed[tb.name]
			do(`CREATE TEMP TABLE kept AS SELECT * FROM `+tb.name+where, key...)
			var n int
			w.Must(db.QueryRow(`SELECT count(*) FROM kept`).Scan(&n))
			if n == 1 && (tried < 3 || long()) {
				tried++
				do(`DELETE FROM `+tb.name+where, key...)
				if r := fsck(t, w); !slices.ContainsFunc(r.Faults, func(f store.Fault) bool { return namesRow(f, tb, key) || f.Row == tb.name }) {
					t.Errorf("%s row %v is gone: %v", tb.name, key, r.Faults)
				}
				do(`INSERT INTO ` + tb.name + ` SELECT * FROM kept`)
			}
			do(`DROP TABLE kept`)
		}
		if tried == 0 {
			t.Errorf("no row of %s was tried", tb.name)
		}
	}
	if r := fsck(t, w); r.Faulty != 0 {
		t.Errorf("everything is back, and yet: %v", r.Faults)
	}
}
