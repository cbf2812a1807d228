package sealpost

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"math"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"
)

// byHand is a type that reads and writes itself.
type byHand[T any] interface {
	*T
	read(*reader)
	write(*writer)
}

func readByHand[T any, P byHand[T]](b []byte) (v T, err error) {
	r := reader{s: string(b)}
	if P(&v).read(&r); !r.end() {
		return v, r.fault
	}
	return v, nil
}

func writeByHand[T any, P byHand[T]](v T) ([]byte, error) {
	var w writer
	P(&v).write(&w)
	return w.b, w.fault
}

// twoWays reads bytes by hand and by the general codec, which decodes, encodes
// again and compares, and fails unless both accept them with one value or both
// refuse them.
func twoWays[T any, P byHand[T]](t testing.TB, b []byte) (accepted bool) {
	t.Helper()
	var want T
	wantErr := Decode(b, &want)
	got, err := readByHand[T, P](b)
	switch {
	case (err == nil) != (wantErr == nil):
		t.Errorf("%T of %x: by hand %v, by the general codec %v", got, b, err, wantErr)
	case err != nil:
		return false
	case !reflect.DeepEqual(got, want):
		t.Errorf("%T of %x: by hand %+v, by the general codec %+v", got, b, got, want)
	}
	again, err := writeByHand[T, P](got)
	same(t, "by hand", b, again, err)
	return true
}

// twoWriters writes a value, which may break every rule, in both ways.
func twoWriters[T any, P byHand[T]](t testing.TB, v T) []byte {
	t.Helper()
	want, wantErr := Encode(v)
	got, err := writeByHand[T, P](v)
	if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
		t.Fatalf("%+v: by hand %x (%v), by the general codec %x (%v)", v, got, err, want, wantErr)
	}
	if err != nil {
		return nil
	}
	return got
}

// edges are numbers at which an encoding changes its length.
var edges = []uint64{0, 1, 23, 24, math.MaxUint8, math.MaxUint8 + 1, math.MaxUint16, math.MaxUint16 + 1, math.MaxUint32, math.MaxUint32 + 1, math.MaxInt64, math.MaxUint64}

var textEdges = []string{"", "bank", "bänk", "a b\n", "\xff", "\xed\xa0\x80", "\xc0\x80", "\xf4\x90\x80\x80", string(make([]byte, 23)), string(make([]byte, 24)), string(make([]byte, 255)), string(make([]byte, 256)), string(make([]byte, math.MaxUint16+1))}

// wild draws any value of a type, not only one that keeps the rules.
func (d drawer) wild(v reflect.Value) {
	switch to := v.Addr().Interface().(type) {
	case *UnixMilli:
		*to = []UnixMilli{d.time(), d.time(), d.time(), 0, TimeLast, TimeLast - UnixMilli(d.n(1e12))}[d.n(6)]
		if d.n(100) == 0 {
			*to = []UnixMilli{-1, TimeLast + 1}[d.n(2)]
		}
		return
	case *PublicKey:
		if *to = testKey(signAlgs[d.n(2)], byte(1+d.n(4))).Public(); d.n(50) == 0 {
			*to = PublicKey{}
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "_" {
				d.wild(v.Field(i))
			}
		}
	case reflect.Pointer:
		if d.n(2) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			d.wild(v.Elem())
		}
	case reflect.Array:
		reflect.Copy(v, reflect.ValueOf(d.bytes(v.Len())))
	case reflect.Slice:
		if d.n(8) == 0 {
			return // nil
		}
		n := int([]uint64{0, 1, 23, 24, 32, d.n(40)}[d.n(6)])
		if v.Type().Elem().Kind() != reflect.Uint8 && d.n(200) == 0 {
			n = itemsMax + int(d.n(2))
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			d.wild(v.Index(i))
		}
	case reflect.String:
		v.SetString(textEdges[d.n(4)])
		if d.n(20) == 0 {
			v.SetString(textEdges[d.n(uint64(len(textEdges)))])
		}
	case reflect.Int8, reflect.Int64:
		n := edges[d.n(uint64(len(edges)))] >> 1 & (1<<(v.Type().Bits()-1) - 1)
		if v.SetInt(int64(n)); d.n(2) == 0 {
			v.SetInt(-1 - int64(n))
		}
	default:
		v.SetUint(edges[d.n(uint64(len(edges)))] & (math.MaxUint64 >> (64 - v.Type().Bits())))
	}
}

// showByHand holds the two ways against each other for one type: over drawn
// values that need not keep any rule, and over every small change of honest
// bytes.
func showByHand[T any, P byHand[T]](t *testing.T, honest ...T) {
	t.Helper()
	t.Run(reflect.TypeFor[T]().Name(), func(t *testing.T) {
		for _, v := range honest {
			b := twoWriters[T, P](t, v)
			if b == nil || !twoWays[T, P](t, b) {
				t.Fatalf("honest bytes are refused: this test sees nothing")
			}
		}
		d, read, refused := drawer{seeded(11)}, 0, 0
		for range 10_000 {
			var v T
			d.wild(reflect.ValueOf(&v).Elem())
			if b := twoWriters[T, P](t, v); b != nil && twoWays[T, P](t, b) {
				read++
			} else {
				refused++
			}
		}
		if read < 1000 {
			t.Errorf("of the drawn values %d are read, %d are not: this test sees too little", read, refused)
		}
		for _, v := range honest {
			good := twoWriters[T, P](t, v)
			eachChange(good, func(b []byte) {
				if !t.Failed() {
					twoWays[T, P](t, b)
				}
			})
		}
	})
}

// others are items to put in the place of one byte: numbers of every length and
// sign, and what a statement never holds.
var others = func() (out []string) {
	for _, n := range edges {
		out = append(out, string(appendHead(nil, majorUint, n)), string(appendHead(nil, majorNint, n)))
	}
	return append(out, "\x18\x01", "\x19\x00\x01", "\xf4", "\xf5", "\xf6", "\xf7", "\xf8\x20", "\xf9\x3c\x00", "\xc1\x01", "\xc2\x41\x01", "\x5f\xff", "\x5f\x41\x01\xff", "\x7f\xff", "\x9f\xff")
}()

// eachChange gives every one-byte change, insertion, deletion and truncation,
// every change of one byte that drops the next, as an emptied field would, and
// every byte replaced by another item. What it gives is good for one call. Unless the long suite runs, the new bytes
// are heads of every type at which a reader could go wrong, and flipped bits.
func eachChange(good []byte, try func(b []byte)) {
	news := []byte{}
	for x := range 256 {
		if os.Getenv("SEALPOST_LONG") != "" || slices.Contains([]int{0, 1, 24, 25, 31}, x&31) {
			news = append(news, byte(x))
		}
	}
	b := slices.Clone(good)
	for at := range good {
		for _, x := range news {
			b[at] = x
			try(b)
		}
		for bit := range 8 {
			b[at] = good[at] ^ 1<<bit
			try(b)
		}
		b[at] = good[at]
		for _, item := range others {
			try(slices.Concat(good[:at], []byte(item), good[at+1:]))
		}
		if at+1 < len(good) {
			for _, head := range []byte{good[at] - 1, majorBytes, majorText, majorArray, majorMap} {
				try(slices.Concat(good[:at], []byte{head}, good[at+2:]))
			}
		}
		try(good[:at])
		try(slices.Delete(slices.Clone(good), at, at+1))
	}
	for at := range len(good) + 1 {
		b := slices.Insert(slices.Clone(good), at, 0)
		for _, x := range news {
			b[at] = x
			try(b)
		}
	}
}

// What is read by hand is exactly what the general codec reads, and it is
// written as that writes it.
func TestByHandAndByTheGeneralCodec(t *testing.T) {
	bare := honestReceipt()
	bare.Level, bare.Opened, bare.Carrier, bare.Attempt = HandedOver, nil, 0, nil
	short := honestReceipt()
	short.Opened, short.Attempt = []byte{1}, []byte{2}
	negative := honestReceipt()
	negative.Level, negative.Opened, negative.Reason = Mismatch, nil, ReasonRoster
	entries, _, _ := promiseGroup(3)
	all, err := SignPromise(entries, "log.example", testStart, 9, MergeDelay, testKey(EdDSA, 1))
	if err != nil {
		t.Fatal(err)
	}
	before := entries[0]
	before.OutcomeBy = -1 << 40
	showByHand(t, honestCommitment())
	showByHand(t, honestReceipt(), bare, short, negative)
	showByHand(t, honestAttempt())
	showByHand(t, honestClaim())
	showByHand(t, honestOutcome())
	showByHand(t, honestPromise())
	showByHand(t, honestRevoke(), honestEnrol())
	showByHand(t, entries[0], before)
	showByHand(t, all[1], all[2])
	showByHand(t, Envelope{Message: []byte("m")}, Envelope{Commits: [][]byte{{}}, Message: []byte("m")},
		Envelope{Welcome: []byte("w"), Commits: [][]byte{{1}, {}, {2, 3}}, Message: []byte("m")})
}

// Heads of every length, each in its shortest form only.
func TestHeads(t *testing.T) {
	for _, n := range edges {
		b := appendHead(nil, majorUint, n)
		if want := mustEncode(n); !bytes.Equal(b, want) {
			t.Errorf("%d is written %x, want %x", n, b, want)
		}
		if r := (reader{s: string(b)}); r.uint(math.MaxUint64) != n || !r.end() {
			t.Errorf("%d: %v", n, r.fault)
		}
		for width, info := range map[int]byte{1: 24, 2: 25, 4: 26, 8: 27} {
			long := []byte{majorUint | info}
			for i := width - 1; i >= 0; i-- {
				long = append(long, byte(n>>(8*i)))
			}
			fits := width == 8 || n>>(8*width) == 0
			r := reader{s: string(long)}
			if got := r.uint(math.MaxUint64); fits && r.end() != bytes.Equal(long, b) {
				t.Errorf("%d as %x is read as %d: %v", n, long, got, r.fault)
			}
		}
	}
	for info := byte(28); info < 32; info++ {
		r := reader{s: string([]byte{majorUint | info, 0, 0, 0, 0, 0, 0, 0, 0})}
		if r.head(majorUint); r.fault == nil {
			t.Errorf("additional information %d is read", info)
		}
	}
}

// The reference of times: a layout, there and back.
func timeByLayout(s string) (UnixMilli, bool) {
	t, err := time.Parse(timeLayout, s)
	if err != nil || t.Year() < 1970 || t.Format(timeLayout) != s {
		return 0, false
	}
	return FromTime(t), true
}

func TestTimesByHand(t *testing.T) {
	check := func(s string) bool {
		got, ok := parseTime(s)
		want, wantOK := timeByLayout(s)
		if got != want || ok != wantOK {
			t.Errorf("%q: by hand %d %v, by the layout %d %v", s, got, ok, want, wantOK)
		}
		return ok
	}
	both := func(v UnixMilli) {
		s := v.Time().Format(timeLayout)
		if got := v.String(); got != s {
			t.Errorf("%d is written %q, want %q", int64(v), got, s)
		}
		check(s)
	}
	d := drawer{seeded(5)}
	for range 10_000 {
		both(UnixMilli(d.n(uint64(TimeLast) + 1)))
	}
	const day = 24 * 60 * 60 * 1000 // milliseconds
	for v := UnixMilli(0); v < 140*366*day; v += day {
		both(v)
		both(v + day - 1)
	}
	for _, v := range []UnixMilli{-1, 0, TimeLast, TimeLast + 1, -day * 366 * 1970, 4 * TimeLast} {
		both(v)
	}
	if !check("2024-02-29T23:59:59.999Z") || !check("2000-02-29T00:00:00.000Z") {
		t.Fatal("honest times are refused")
	}
	for _, s := range []string{"2023-02-29T00:00:00.000Z", "1900-02-28T00:00:00.000Z", "2100-02-29T00:00:00.000Z", "1969-12-31T23:59:59.999Z", "0000-01-01T00:00:00.000Z",
		"2024-00-01T00:00:00.000Z", "2024-13-01T00:00:00.000Z", "2024-01-00T00:00:00.000Z", "2024-01-32T00:00:00.000Z", "2024-04-31T00:00:00.000Z", "2024-01-01T24:00:00.000Z",
		"2024-01-01T23:60:00.000Z", "2016-12-31T23:59:60.000Z", "2024-01-01T00:00:00,000Z", "2024-01-01T00:00:00.000z", "2024-01-01 00:00:00.000Z", "2024-01-01T00:00:00.00Z", "2024-1-01T00:00:00.0000Z", ""} {
		if check(s) {
			t.Errorf("%q is a time", s)
		}
	}
	eachChange([]byte("2024-02-29T19:59:38.120Z"), func(b []byte) { check(string(b)) })
}

// A submission taken apart by hand is the one that the general codec reads.
func TestSubmissionByHand(t *testing.T) {
	blob, err := EncodeEnvelope(Envelope{Message: []byte("m")})
	if err != nil {
		t.Fatal(err)
	}
	c := honestCommitment()
	c.Blob = sumHash(blob)
	signed, err := Sign(c, testKey(EdDSA, 1))
	if err != nil {
		t.Fatal(err)
	}
	honest, err := NewSealed(signed, blob)
	if err != nil {
		t.Fatal(err)
	}
	type submission struct {
		Commitment []byte `cbor:"1,keyasint"`
		Blob       []byte `cbor:"2,keyasint"`
	}
	same(t, "submission", mustEncode(submission{signed.Bytes(), blob}), honest.Bytes(), nil)
	byCodec := func(b []byte) (Sealed, error) {
		var w submission
		if err := Decode(b, &w); err != nil {
			return Sealed{}, err
		}
		s, err := Parse(w.Commitment)
		if err != nil {
			return Sealed{}, err
		}
		return NewSealed(s, w.Blob)
	}
	accepted := 0
	try := func(b []byte) {
		got, err := ParseSealed(b)
		want, wantErr := byCodec(b)
		if (err == nil) != (wantErr == nil) || !reflect.DeepEqual(got, want) {
			t.Errorf("%x: by hand %v, by the general codec %v", b, err, wantErr)
		}
		if err == nil {
			accepted++
		}
	}
	try(honest.Bytes())
	if accepted != 1 {
		t.Fatal("an honest submission is refused: this test sees nothing")
	}
	eachChange(honest.Bytes(), try)
	if accepted < 1000 { // a flipped signature is still a submission
		t.Errorf("%d changed submissions are read: this test sees too little", accepted)
	}
}

// What was read stays as it is, whatever its reader does with the memory that
// it was read from.
func TestNothingReadRefersToItsSource(t *testing.T) {
	sealed := submissionOf(t)
	body := sealed.Bytes()
	s, err := ParseSealed(body)
	if err != nil {
		t.Fatal(err)
	}
	clear(body)
	if !reflect.DeepEqual(s, sealed) {
		t.Error("a submission changed with its source")
	}
	raw := sealed.Statement().Bytes()
	signed, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	clear(raw)
	c, err := signed.Commitment()
	if err != nil || signed != sealed.Statement() || !reflect.DeepEqual(c, sealed.Commitment()) {
		t.Errorf("a statement changed with its source: %v", err)
	}
	clear(c.C)
	clear(c.Carriers)
	if again, err := signed.Commitment(); err != nil || !reflect.DeepEqual(again, sealed.Commitment()) {
		t.Errorf("a statement changed with what was read from it: %v", err)
	}
	entries, _, _ := promiseGroup(3)
	all, err := SignPromise(entries, "log.example", testStart, 9, MergeDelay, testKey(EdDSA, 1))
	if err != nil {
		t.Fatal(err)
	}
	b := all[0].Encode()
	p, err := ParsePromised(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if !reflect.DeepEqual(p, all[0]) {
		t.Error("a promise changed with its source")
	}
	blob := sealed.Blob()
	e, err := ParseEnvelope(blob)
	if err != nil {
		t.Fatal(err)
	}
	clear(blob)
	if again, err := ParseEnvelope(sealed.Blob()); err != nil || !reflect.DeepEqual(e, again) {
		t.Errorf("an envelope changed with its source: %v", err)
	}
}

// A hash is the SHA-256 of all bytes, for statements of one piece and of many.
func TestHashOfAStatement(t *testing.T) {
	o := honestOutcome()
	for _, n := range []int{0, 1, 3, 40, CountedMax} {
		o.Attempts = manyHashes(n)
		s, err := Sign(o, testKey(EdDSA, 1))
		if err != nil {
			t.Fatal(err)
		}
		if s.Hash() != sha256.Sum256(s.Bytes()) {
			t.Errorf("%d bytes: the hash is not SHA-256 of the statement", len(s.Bytes()))
		}
	}
}

// The parts of one group do not share what one of them may append to.
func TestPathsDoNotOverlap(t *testing.T) {
	entries, _, _ := promiseGroup(5)
	all, err := SignPromise(entries, "log.example", testStart, 9, MergeDelay, testKey(EdDSA, 1))
	if err != nil {
		t.Fatal(err)
	}
	next := all[1].Encode()
	_ = append(all[0].Path, Hash{1})
	if !bytes.Equal(all[1].Encode(), next) {
		t.Error("appending to one path wrote into the next")
	}
}

// A payload that breaks a rule is returned with the error that names the rule;
// one that was not read to its end is not returned.
func TestWhatIsReturnedWithAnError(t *testing.T) {
	key := testKey(EdDSA, 1)
	c := honestCommitment()
	c.Pattern = 2
	s, err := Parse(forge(t, c, key))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Commitment(); err == nil || !reflect.DeepEqual(got, c) {
		t.Errorf("a broken rule: %+v, %v", got, err)
	}
	s.payload += "\x00"
	if got, err := s.Commitment(); err == nil || !reflect.DeepEqual(got, Commitment{}) {
		t.Errorf("a trailing byte: %+v, %v", got, err)
	}
}

// A leaf is the HMAC of crypto/hmac, for statements of every length around
// SHA-256's blocks.
func TestLeafIsHMAC(t *testing.T) {
	d := drawer{seeded(3)}
	for n := range 300 {
		salt, statement := Salt(d.hash()), d.bytes(n)
		m := hmac.New(sha256.New, salt[:])
		m.Write(statement)
		want := m.Sum([]byte{LeafVersion})
		if got := MakeLeaf(salt, statement); !bytes.Equal(got[:], want) {
			t.Fatalf("%d bytes: leaf %x, want %x", n, got, want)
		}
	}
}

// Reading a submission costs few allocations: the hot path of the relay.
func TestParseSealedAllocates(t *testing.T) {
	const most = 8
	body := submissionOf(t).Bytes()
	if n := testing.AllocsPerRun(100, func() {
		if _, err := ParseSealed(body); err != nil {
			t.Fatal(err)
		}
	}); n > most {
		t.Errorf("%v allocations, at most %d are meant", n, most)
	}
}
