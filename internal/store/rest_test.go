package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/store"
	"github.com/sealpost/sealpost/internal/store/storetest"
)

// lived is a world in which everything that the store can hold is held.
func lived(t *testing.T) (w *storetest.World, secrets map[string][]byte) {
	ctx := context.Background()
	w = storetest.NewWorld(t, open)
	phone, token := "+491511234567", "token-canary-cXyZ:APA91b"
	r := storetest.Recipient("recipient of " + phone)
	d := w.Enrol(r, w.Token(token), w.Token(phone))
	w.Must(w.PutPackages(ctx, d.ID, [][]byte{[]byte("package-canary")}, nil))
	e := w.Invite(r)
	_, a := w.Answer(e, []sealpost.Endpoint{w.Token(token)}, [][]byte{[]byte("package-canary")})
	w.Must(w.AnswerEnrolment(ctx, e.ID, a))
	w.Must(w.PutAPIKey(ctx, sealpost.APIKey{Name: "key-canary", App: w.App, Hash: sealpost.Hash{7: 9}, Created: w.Now}))
	m := w.Message(r)
	held := w.MustHold(m, w.Attempt(m, d, 1, sealpost.Accepted, 0), w.Receipt(m, d, sealpost.Decrypted))
	w.CloseAs(m.ID, sealpost.Delivered)
	open := w.Message(r)
	w.MustHold(open)
	fresh, err := w.Nonce(ctx, d.ID, [16]byte([]byte("nonce-canary-16b")), w.Now)
	if err != nil || !fresh {
		t.Fatal(fresh, err)
	}
	return w, map[string][]byte{
		"phone number": []byte(phone), "token": []byte(token), "app": []byte(w.App), "recipient": r[:],
		"message id": m.ID[:], "open message's id": open.ID[:], "transaction": []byte("transaction-canary"), "KeyPackage": []byte("package-canary"),
		"API key's name": []byte("key-canary"), "enrolment id": e.ID[:], "challenge": e.Challenge[:], "device key id": d.ID[:],
		"device key": d.Public().Bytes(), "MLS leaf key": d.Leaf.Public().Bytes(), "sender key": w.Sender.Public().Bytes(),
		"salt": held[0].Record.Salt[:], "promise": []byte("promise-canary"), "statement hash": m.Hash[:], "signature": m.Statement[len(m.Statement)-64:],
		"nonce": []byte("nonce-canary-16b"),
	}
}

// R67, and DESIGN 11 (At rest): no file of the data folder holds a phone
// number, a token or an identifier in clear, in any of the forms that one would
// write it in. It is looked for while the store is open, so in the write-ahead
// file too.
func TestNothingInClear(t *testing.T) {
	w, secrets := lived(t)
	data := filepath.Join(w.Place(), "data")
	if n := scan(t, data, []byte("CREATE TABLE statements")); n == 0 {
		t.Fatal("the scan does not find what is in clear, so it proves nothing")
	}
	leaves, err := w.Leaves(context.Background(), 0, 100)
	w.Must(err)
	if n := scan(t, data, leaves[len(leaves)-1][:]); n == 0 {
		t.Fatal("leaves are in clear, and the scan does not find one")
	}
	for name, secret := range secrets {
		for form, b := range map[string][]byte{"bytes": secret, "hex": []byte(hex.EncodeToString(secret)), "HEX": []byte(strings.ToUpper(hex.EncodeToString(secret)))} {
			if n := scan(t, data, b); n != 0 {
				t.Errorf("%s as %s: found in %d files", name, form, n)
			}
		}
	}
}

func scan(t *testing.T, dir string, secret []byte) (files int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, secret) || strings.Contains(path, string(secret)) {
			files++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// R8: the database refers to blobs and has no column for one, and what a blob
// holds is in no page of it.
func TestNoBlobInTheDatabase(t *testing.T) {
	w, _ := lived(t)
	m := w.Message(storetest.Recipient("nobody"))
	w.MustHold(m)
	data := filepath.Join(w.Place(), "data")
	if n := scan(t, filepath.Join(data, "spool"), m.Blob); n != 1 {
		t.Errorf("the blob stands in %d segments, want one", n)
	}
	if n := scan(t, data, m.Blob[100:200]); n != 1 {
		t.Errorf("the blob stands in %d files, want the segment alone", n)
	}
	blobs := map[string]bool{}
	for _, r := range query(t, w, `SELECT m.name || '.' || c.name FROM sqlite_schema m, pragma_table_info(m.name) c WHERE m.type = 'table' AND c.type = 'BLOB'`) {
		blobs[r] = true
	}
	for _, known := range strings.Fields(`wrapped_keys.wrapped apps.tag apps.sealed data_keys.wrapped statements.tag statements.leaf
		statements.statement statements.salt promises.sealed messages.lookup messages.tag messages.routes signing_keys.tag signing_keys.owner
		signing_keys.sealed key_events.tag key_events.owner endpoints.sealed packages.sealed enrolments.tag enrolments.challenge
		enrolments.signing_key enrolments.sealed enrolments.answer nonces.tag nonces.mark segments.mark spent.mark
		epochs.place epochs.content epochs.mark api_keys.tag api_keys.name api_keys.sealed`) {
		delete(blobs, known)
	}
	if len(blobs) != 0 {
		t.Errorf("columns that nobody has judged: %v", blobs)
	}
}

// query reads the first column of an answer from outside of the store.
func query(t *testing.T, w *storetest.World, text string) (out []string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(w.Place(), "data", "sealpost.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(text)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

func spoil(t *testing.T, w *storetest.World, text string, args ...any) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(w.Place(), "data", "sealpost.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(text, args...); err != nil {
		t.Fatal(err)
	}
}

func fsck(t *testing.T, w *storetest.World) store.Report {
	t.Helper()
	r, err := w.Store.(*store.DB).Fsck(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// R39: any flipped byte of a sealed column, a leaf, a look-up or a blob is named
// with the row that it stands in.
func TestFsckNamesEveryFlippedByte(t *testing.T) {
	w, _ := lived(t)
	if r := fsck(t, w); r.Faulty != 0 || r.Statements != 7 || r.Messages != 2 || r.Blobs != 1 || r.Keys != 2 {
		t.Fatalf("an honest store: %+v", r)
	}
	for _, c := range []struct{ table, key, columns string }{
		{"statements", "seq", "statement salt leaf tag"},
		{"promises", "id", "sealed"},
		{"messages", "seq", "lookup tag"},
		{"key_events", "seq", "tag"},
		{"signing_keys", "id", "tag owner sealed"},
		{"apps", "id", "tag sealed"},
		{"endpoints", "id", "sealed"},
		{"packages", "id", "sealed"},
		{"enrolments", "id", "tag sealed answer"},
		{"api_keys", "id", "tag sealed"},
	} {
		for _, column := range strings.Fields(c.columns) {
			for _, key := range query(t, w, `SELECT `+c.key+` FROM `+c.table+` WHERE `+column+` IS NOT NULL`) {
				where := ` WHERE ` + c.key + ` = ` + key
				was, err := hex.DecodeString(query(t, w, `SELECT hex(`+column+`) FROM `+c.table+where)[0])
				if err != nil {
					t.Fatal(err)
				}
				for _, at := range []int{0, len(was) / 2, len(was) - 1} {
					bad := bytes.Clone(was)
					bad[at] ^= 0x10
					spoil(t, w, `UPDATE `+c.table+` SET `+column+` = ?`+where, bad)
					if c.table == "apps" {
						w.Reopen() // names that were opened before must not hide it
					}
					r := fsck(t, w)
					spoil(t, w, `UPDATE `+c.table+` SET `+column+` = ?`+where, was)
					if !names(r, c.table, key, c.key == "seq") {
						t.Errorf("%s.%s of row %s, byte %d: %v", c.table, column, key, at, r.Faults)
					}
				}
			}
		}
	}
	w.Reopen()
	if r := fsck(t, w); r.Faulty != 0 {
		t.Errorf("everything is mended, and yet: %v", r.Faults)
	}
}

// names says whether a report names the row.
func names(r store.Report, table, key string, bySeq bool) bool {
	for _, f := range r.Faults {
		s := f.String()
		if bySeq && strings.HasPrefix(s, "seq "+key+":") || strings.Contains(s, table+" row "+key+":") {
			return true
		}
	}
	return false
}

func TestFsckNamesNumbersRowsAndBlobs(t *testing.T) {
	for name, c := range map[string]struct {
		spoil string
		want  string
	}{
		"a statement is gone":     {`DELETE FROM statements WHERE seq = 3`, "seq 3: statements: missing"},
		"a message is gone":       {`DELETE FROM messages WHERE seq = 6`, "seq 6: messages: missing"},
		"expires was moved":       {`UPDATE messages SET expires = expires + 1 WHERE seq = 6`, "seq 6: messages: it differs from its commitment"},
		"carriers were added":     {`UPDATE messages SET carriers = carriers | 2 WHERE seq = 6`, "seq 6: messages: it differs from its commitment"},
		"the end was changed":     {`UPDATE messages SET outcome = 2 WHERE seq = 2`, "seq 2: messages: its end is not the signed one"},
		"an end was made up":      {`UPDATE messages SET outcome = 2 WHERE seq = 6`, "seq 6: messages: its end is not the signed one"},
		"rows changed places":     {`UPDATE statements SET statement = (SELECT statement FROM statements WHERE seq = 3) WHERE seq = 4`, "seq 4: statements: seq 4: damaged: the statement does not open"},
		"a statement was moved":   {`UPDATE statements SET message = 6 WHERE seq = 3`, "seq 3: statements"},
		"kind was changed":        {`UPDATE statements SET kind = 5 WHERE seq = 3`, "seq 3: statements"},
		"a revocation is made up": {`UPDATE signing_keys SET revoked = 3 WHERE id = 2`, "signing_keys row 2"},
		"a key moved back":        {`UPDATE signing_keys SET enrolled = 0 WHERE id = 2`, "signing_keys row 2"},
		"a blob points elsewhere": {`UPDATE messages SET start = start + 1 WHERE seq = 6`, "seq 6: spool segment 000000000001.seg"},
		"a segment is too short":  {`UPDATE segments SET tail = tail + 1`, "spool segment 000000000001.seg: it is shorter"},
		"a wait is made up":       {`INSERT INTO waiting (device, message) VALUES (2, 6)`, "waiting row 2/6"},
		"a sender is to wait":     {`INSERT INTO waiting (device, message) VALUES (1, 6)`, "waiting row 1/6"},
		"an expiry is made up":    {`INSERT INTO expiring (second, block) VALUES (17, 0)`, "expiring row 17/0"},
		"a promise is made up":    {`INSERT INTO promises (id, sealed) SELECT 99, sealed FROM promises WHERE id = 1`, "promises row 99: it is of no statement"},
		"a promise is left out":   {`UPDATE statements SET promise = NULL, place = 0, outcome_by = 0 WHERE seq = 6`, "seq 6: statements: it has a promise, or none"},
		"a data key is damaged":   {`UPDATE data_keys SET wrapped = zeroblob(60)`, "seq 0: statements"},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := lived(t)
			if r := fsck(t, w); r.Faulty != 0 {
				t.Fatalf("an honest store: %v", r.Faults)
			}
			spoil(t, w, c.spoil)
			if !strings.Contains(c.spoil, "segments") {
				w.Reopen()
			}
			r := fsck(t, w)
			for _, f := range r.Faults {
				if strings.Contains(f.String(), c.want) {
					return
				}
			}
			t.Errorf("want %q, got %v", c.want, r.Faults)
		})
	}
}

func TestFsckNamesEveryByteOfABlob(t *testing.T) {
	w := storetest.NewWorld(t, open)
	m := w.Message(storetest.Recipient("nobody"))
	w.MustHold(w.Message(storetest.Recipient("nobody")), m)
	path := filepath.Join(w.Place(), "data", "spool", "000000000001.seg")
	was, err := os.ReadFile(path)
	w.Must(err)
	for at := 0; at < len(m.Blob); at += 1 + at%7 { // ends and middle, odd and even
		bad := bytes.Clone(was)
		bad[len(was)-len(m.Blob)+at] ^= 1
		w.Must(os.WriteFile(path, bad, 0o600))
		if r := fsck(t, w); r.Faulty != 1 || r.Faults[0].Seq != 2 {
			t.Fatalf("byte %d: %v", at, r.Faults)
		}
	}
	w.Must(os.WriteFile(path, was, 0o600))
	if r := fsck(t, w); r.Faulty != 0 {
		t.Errorf("mended: %v", r.Faults)
	}
}

func TestFsckAsksTheLog(t *testing.T) {
	w, _ := lived(t)
	leaves, err := w.Leaves(context.Background(), 0, 100)
	w.Must(err)
	r, err := w.Store.(*store.DB).Fsck(context.Background(), func(seq uint64, leaf sealpost.Leaf) error {
		if leaf != leaves[seq] || seq == 5 {
			return os.ErrNotExist
		}
		return nil
	})
	if err != nil || r.Faulty != 1 || r.Faults[0].Seq != 5 || r.Faults[0].Row != "log" {
		t.Errorf("%+v, %v", r, err)
	}
}

// The blob of a message that every device has is overwritten in its segment,
// and a segment that nothing refers to is deleted.
func TestBlobsAreErased(t *testing.T) {
	ctx := context.Background()
	w := storetest.NewWorld(t, open)
	d := w.Enrol(storetest.Recipient("r"))
	m, kept := w.Message(d.Recipient), w.Message(d.Recipient)
	w.MustHold(m, kept)
	twin := m // a duplicate is spooled before it is seen to be one
	held := w.HoldOne(twin)
	if !held.Again {
		t.Fatal("not a duplicate")
	}
	w.MustHold(w.Receipt(m, d, sealpost.HandedOver))
	spool := filepath.Join(w.Place(), "data", "spool")
	if scan(t, spool, m.Blob) != 1 {
		t.Fatal("the blob is gone before the sweep, so the check below proves nothing")
	}
	w.Must(w.Sweep(ctx, w.Now))
	if scan(t, spool, m.Blob[:64]) != 0 || scan(t, spool, kept.Blob) != 1 {
		t.Error("the blob is still there, or another went with it")
	}
	if r := fsck(t, w); r.Faulty != 0 || r.Blobs != 1 {
		t.Errorf("%+v", r)
	}
	if live := query(t, w, `SELECT live FROM segments`); live[0] != "1" {
		t.Errorf("%s blobs are counted in the segment, want 1", live[0])
	}
}

func TestSegmentsAreDeleted(t *testing.T) {
	ctx := context.Background()
	w := storetest.NewWorld(t, open)
	d := w.Enrol(storetest.Recipient("r"))
	big := func() sealpost.Hold {
		blob := make([]byte, sealpost.BlobMax)
		m := w.Message(d.Recipient, func(c *sealpost.Commitment) { c.Blob = sealpost.Hash{} })
		m.Blob = blob
		return m
	}
	var last []sealpost.Hold
	for size := 0; size <= store.SegmentMax; {
		last = last[:0]
		for range 256 {
			last = append(last, big())
			size += sealpost.BlobMax
		}
		w.MustHold(last...)
	}
	segments := func() int {
		files, err := os.ReadDir(filepath.Join(w.Place(), "data", "spool"))
		w.Must(err)
		return len(files)
	}
	if n := segments(); n != 2 {
		t.Fatalf("%d segments, want 2", n)
	}
	w.Now = last[0].Commitment.Expires + 1
	for {
		closings, err := w.Closable(ctx, w.Now, 256)
		w.Must(err)
		if len(closings) == 0 {
			break
		}
		var group []sealpost.Hold
		for _, c := range closings {
			group = append(group, w.Outcome(c))
		}
		w.MustHold(group...)
	}
	w.Must(w.Sweep(ctx, w.Now))
	if n := segments(); n != 1 {
		t.Errorf("%d segments after everything expired, want the open one", n)
	}
	w.Reopen()
	w.MustHold(w.Message(d.Recipient))
}

func TestOpenRefuses(t *testing.T) {
	w := storetest.NewWorld(t, open)
	data := filepath.Join(w.Place(), "data")
	keys, err := store.NewFileKeys(filepath.Join(w.Place(), "kek"))
	w.Must(err)
	inside, err := store.NewFileKeys(filepath.Join(data, "kek"))
	w.Must(err)
	other, err := store.NewFileKeys(filepath.Join(w.Place(), "other"))
	w.Must(err)
	now := w.Now.Time
	try := func(name string, cfg store.Config, want string) {
		t.Helper()
		db, err := store.Open(context.Background(), cfg)
		if err == nil {
			w.Must(db.Close())
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	try("taken", store.Config{Dir: data, Keys: keys, Now: now}, store.ErrLocked.Error())
	try("key beside the data", store.Config{Dir: data, Keys: inside, Now: now}, "lies in the data folder")
	try("no clock", store.Config{Dir: data, Keys: keys}, "must be set")
	w.Must(w.Store.Close())
	try("another key", store.Config{Dir: data, Keys: other, Now: now}, "another key file")
	w.Store = open(t, w.Place(), now)
	w.Must(os.Chmod(filepath.Join(w.Place(), "other"), 0o644))
	if _, err := store.NewFileKeys(filepath.Join(w.Place(), "other")); err == nil {
		t.Error("a key file that all may read was taken")
	}
}

// A damaged row stops its own message or device and nothing else.
func TestDamageStaysWhereItIs(t *testing.T) {
	ctx := context.Background()
	w := storetest.NewWorld(t, open)
	bad, good := w.Enrol(storetest.Recipient("bad"), w.Token("bad")), w.Enrol(storetest.Recipient("good"), w.Token("good"))
	w.Must(w.PutPackages(ctx, bad.ID, [][]byte{{1}}, nil))
	w.Must(w.PutPackages(ctx, good.ID, [][]byte{{1}}, nil))
	first, second, third := w.Message(bad.Recipient), w.Message(good.Recipient), w.Message(good.Recipient)
	w.MustHold(first, second, third)
	spoil(t, w, `UPDATE signing_keys SET sealed = zeroblob(80) WHERE id = 2`)
	spoil(t, w, `UPDATE statements SET statement = zeroblob(80) WHERE seq = 4`)
	w.Reopen()
	if work := w.Work(1 << 40); len(work) != 1 || work[0].Message.ID != third.ID {
		t.Errorf("%d tries, want the third message alone", len(work))
	}
	held, err := w.Hold(ctx, []sealpost.Hold{w.Message(good.Recipient), w.Message(bad.Recipient), w.Message(good.Recipient)})
	w.Must(err)
	if held[0].Err != nil || !errors.Is(held[1].Err, store.ErrDamaged) || held[2].Err != nil || held[2].Record.Seq != held[0].Record.Seq+1 {
		t.Errorf("a group with a damaged recipient: %+v", held)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := w.ClaimPackage(ctx, w.App, bad.ID); !errors.Is(err, store.ErrDamaged) {
				t.Errorf("a damaged device's KeyPackage: %v", err)
			}
		})
		wg.Go(func() {
			if _, err := w.ClaimPackage(ctx, w.App, good.ID); err != nil && !errors.Is(err, sealpost.ErrNotFound) {
				t.Errorf("another device's KeyPackage: %v", err)
			}
		})
	}
	wg.Wait()
	w.Now = third.Commitment.Expires
	if c := w.Closing(third.ID); c == nil {
		t.Error("a damaged message keeps another open")
	}
}

// A failed transaction leaves nothing, and what memory followed is dropped:
// the seqs come again with other content, so no data key may.
func TestRollBackEndsDataKeys(t *testing.T) {
	w := storetest.NewWorld(t, open)
	w.MustHold(w.Message(storetest.Recipient("nobody")))
	keys := query(t, w, `SELECT count(*) FROM data_keys`)[0]
	db := w.Store.(*store.DB)
	lost := w.Message(storetest.Recipient("nobody"))
	if err := db.FailCommit(lost); err == nil {
		t.Fatal("the group did not fail, so the checks below prove nothing")
	}
	w.MustHold(w.Message(storetest.Recipient("nobody")))
	if after := query(t, w, `SELECT count(*) FROM data_keys`)[0]; after == keys {
		t.Error("seq 2 was sealed twice under one data key: its nonces repeat")
	}
	if _, err := w.ReadMessage(lost.ID); !errors.Is(err, sealpost.ErrNotFound) {
		t.Errorf("the failed group's message: %v", err)
	}
	if r := fsck(t, w); r.Faulty != 0 || r.Statements != 3 {
		t.Errorf("%+v", r)
	}
}

// What a failed group left in the spool is gone once the store is opened again.
func TestOpenDropsWhatNeverCommitted(t *testing.T) {
	w := storetest.NewWorld(t, open)
	kept, lost := w.Message(storetest.Recipient("nobody")), w.Message(storetest.Recipient("nobody"))
	w.MustHold(kept)
	if err := w.Store.(*store.DB).FailCommit(lost); err == nil {
		t.Fatal("the group did not fail")
	}
	spool := filepath.Join(w.Place(), "data", "spool")
	if scan(t, spool, lost.Blob) != 1 {
		t.Fatal("the failed group left nothing, so the check below proves nothing")
	}
	w.Must(os.WriteFile(filepath.Join(spool, "000000000007.seg"), lost.Blob, 0o600))
	w.Reopen()
	if scan(t, spool, lost.Blob) != 0 || scan(t, spool, kept.Blob) != 1 {
		t.Error("the failed group's blob is still there, or a held one is gone")
	}
}
