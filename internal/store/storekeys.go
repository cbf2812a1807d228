package store

import (
	"crypto/rand"
	"fmt"
)

// storeKeys reads the look-up and routing keys, or draws them for a new store.
func storeKeys(c *conn, keys Keys) (lookup, routing []byte, err error) {
	found, used, err := readStoreKeys(c, keys)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range []string{purposeLookup, purposeRouting} {
		if found[name] == nil && !used {
			if found[name], err = drawStoreKey(c, keys, name); err != nil {
				return nil, nil, err
			}
		}
	}
	return found[purposeLookup], found[purposeRouting], nil
}

// readStoreKeys reads the keys by their purposes. A store that is used, which has
// a tenant, has both: without one it would find nothing of what it holds, and
// would hold it again.
func readStoreKeys(c *conn, keys Keys) (found map[string][]byte, used bool, err error) {
	rows, err := c.all(`SELECT name, wrapped FROM wrapped_keys`)
	if err != nil {
		return nil, false, err
	}
	if _, used, err = c.one(`SELECT 1 FROM apps LIMIT 1`); err != nil {
		return nil, false, err
	}
	found = map[string][]byte{}
	for _, r := range rows {
		name, _ := r[0].(string)
		if name != purposeLookup && name != purposeRouting {
			return nil, used, fmt.Errorf("%w: wrapped_keys row %q is of no key that there is", ErrDamaged, name)
		}
		if found[name], err = keys.Unwrap(name, r.bytes(1)); err != nil {
			return nil, used, fmt.Errorf("wrapped_keys row %q: %w", name, err)
		}
	}
	for _, name := range []string{purposeLookup, purposeRouting} {
		if used && found[name] == nil {
			return nil, used, fmt.Errorf("%w: wrapped_keys row %q is missing", ErrDamaged, name)
		}
	}
	return found, used, nil
}

func drawStoreKey(c *conn, keys Keys, purpose string) ([]byte, error) {
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return nil, err
	}
	wrapped, err := keys.Wrap(purpose, secret)
	if err != nil {
		return nil, err
	}
	_, err = c.exec(`INSERT INTO wrapped_keys (name, wrapped) VALUES (?, ?)`, purpose, wrapped)
	return secret, err
}
