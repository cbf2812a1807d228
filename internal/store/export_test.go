package store

import "os"

// BreakSpool makes every further write to the spool fail.
func (db *DB) BreakSpool() error {
	db.writer.Lock()
	defer db.writer.Unlock()
	for id, f := range db.spool.files {
		readOnly, err := os.Open(f.Name())
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		db.spool.files[id] = readOnly
	}
	return nil
}
