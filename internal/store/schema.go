package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/pressly/goose/v3"
	migrating "modernc.org/sqlite"
	"zombiezen.com/go/sqlite"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the schema up to date and checks that it is then the one that
// the migrations make: what a flipped byte in a table's definition does is
// nobody's to find out while messages come in.
func migrate(ctx context.Context, name string) error {
	pool, err := openPool(name)
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := checkVersions(ctx, pool); err != nil {
		return schemaDamage(err)
	}
	if err := migrateUp(ctx, pool); err != nil {
		return schemaDamage(err)
	}
	return schemaDamage(checkSchema(ctx, pool))
}

func openPool(name string) (*sql.DB, error) {
	connector, err := migrating.NewConnector(name)
	if err != nil {
		return nil, err
	}
	pool := sql.OpenDB(connector)
	pool.SetMaxOpenConns(1)
	return pool, nil
}

func migrateUp(ctx context.Context, pool *sql.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, pool, files)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// schemaDamage: the texts that ask for the schema are constants, so one that does
// not fit it says that it was changed.
func schemaDamage(err error) error {
	if e, ok := errors.AsType[*migrating.Error](err); ok && sqlite.ResultCode(e.Code()) == sqlite.ResultError {
		return fmt.Errorf("%w: sqlite_schema: %w; restore the data folder from a backup", ErrDamaged, err)
	}
	return asDamage(err)
}

// checkVersions reads the list of migrations that were made before anything acts
// on it: each is named once, in order.
func checkVersions(ctx context.Context, pool *sql.DB) error {
	tables, err := texts(ctx, pool, `SELECT name FROM sqlite_schema WHERE type = 'table'`)
	if err != nil || len(tables) == 0 {
		return err // a new store
	}
	versions, err := texts(ctx, pool, versionsText)
	if err != nil {
		return err
	}
	return findVersionFault(versions)
}

// versionsText gives a text for each row: its number, its migration and whether that was made.
const versionsText = `SELECT id || ' ' || quote(version_id) || ' ' || quote(is_applied) FROM goose_db_version ORDER BY id`

func findVersionFault(rows []string) error {
	for i, got := range rows {
		if want := fmt.Sprintf("%d %d 1", i+1, i); got != want {
			id, _, _ := strings.Cut(got, " ")
			return fmt.Errorf("%w: goose_db_version row %d is missing or changed: goose_db_version row %s stands there; restore the data folder from a backup", ErrDamaged, i+1, id)
		}
	}
	return nil
}

// schemaText gives the text of everything in the schema; of the library's table of
// migrations, whose text is its own, the columns.
const schemaText = `SELECT quote(type) || quote(name) || quote(tbl_name) || quote(sql) FROM sqlite_schema WHERE tbl_name != 'goose_db_version'
	UNION ALL SELECT quote(type) || quote(name) || quote(tbl_name) FROM sqlite_schema WHERE tbl_name = 'goose_db_version'
	UNION ALL SELECT quote(cid) || quote(name) || quote(type) || quote("notnull") || quote(dflt_value) || quote(pk) FROM pragma_table_info('goose_db_version') ORDER BY 1`

// checkSchema compares the schema with one that is made anew in memory.
func checkSchema(ctx context.Context, pool *sql.DB) error {
	fresh, err := openPool(":memory:")
	if err != nil {
		return err
	}
	defer fresh.Close()
	if err := migrateUp(ctx, fresh); err != nil {
		return fmt.Errorf("make the schema anew: %w", err)
	}
	want, err := texts(ctx, fresh, schemaText)
	if err != nil {
		return err
	}
	got, err := texts(ctx, pool, schemaText)
	if err != nil {
		return err
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("%w: sqlite_schema is not what the migrations make; restore the data folder from a backup", ErrDamaged)
	}
	return nil
}

// texts reads an answer of one text column.
func texts(ctx context.Context, pool *sql.DB, text string) (out []string, err error) {
	rows, err := pool.QueryContext(ctx, text)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s sql.NullString
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		out = append(out, s.String)
	}
	return out, rows.Err()
}
