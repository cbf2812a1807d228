package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	migrating "modernc.org/sqlite"
	"zombiezen.com/go/sqlite"
)

// resultCode is what SQLite says of an error (sqlite.org/rescode.html), through
// either of the two ways to it; of an error that is not SQLite's, a plain ERROR.
func resultCode(err error) sqlite.ResultCode {
	if e, ok := errors.AsType[*migrating.Error](err); ok {
		return sqlite.ResultCode(e.Code())
	}
	return sqlite.ErrCode(err)
}

// asDamage makes an answer of the database that is about a damaged file match
// [ErrDamaged], and leaves every other as it is.
func asDamage(err error) error {
	if errors.Is(err, ErrDamaged) {
		return err
	}
	if code := resultCode(err).ToPrimary(); code == sqlite.ResultCorrupt || code == sqlite.ResultNotADB {
		return fmt.Errorf("%w: sealpost.db: %w; restore the data folder from a backup", ErrDamaged, err)
	}
	return err
}

// rowKey is what a sealed value is bound to: the number of its row and what of
// the row is in clear beside it, every part of a fixed length.
func rowKey(id int64, more ...[]byte) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(id))
	for _, m := range more {
		b = append(b, m...)
	}
	return b
}

// markSize is the length of a row's mark, bytes. It shows damage; nobody can try
// one out.
const markSize = 8

// mark is a keyed hash of the columns of a row that nothing else covers.
func (v *vault) mark(domain string, a, b int64, more ...[]byte) []byte {
	numbers := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(make([]byte, 0, 16), uint64(a)), uint64(b))
	return v.tag(domain, append([][]byte{numbers}, more...)...)[:markSize]
}

func (v *vault) markSpent(r ref) []byte {
	return v.mark(markSpent, r.segment, r.start, binary.BigEndian.AppendUint64(nil, uint64(r.length)))
}

// nextID is the number of a table's next row, for rows whose sealed columns are
// bound to it.
func (c *conn) nextID(table string) (int64, error) {
	r, _, err := c.one(`SELECT coalesce(max(id), 0) + 1 FROM ` + table)
	if err != nil {
		return 0, err
	}
	return r.int(0), nil
}
