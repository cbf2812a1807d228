-- +goose Up
-- Every column of every row is either sealed, bound to what is sealed, said by the
-- signed statements, or covered by its row's mark, a keyed hash: fsck finds a
-- change in any of them. The few that it cannot tell are listed in its test.

-- The store's own keys, wrapped by the key service.
CREATE TABLE wrapped_keys (name TEXT PRIMARY KEY, wrapped BLOB NOT NULL) STRICT, WITHOUT ROWID;

-- Tenants: a keyed look-up and the sealed name.
CREATE TABLE apps (id INTEGER PRIMARY KEY, tag BLOB NOT NULL UNIQUE, sealed BLOB NOT NULL) STRICT;

-- Data keys: one of a tenant, a day and an opening of the store. Destroying a
-- row makes all that it sealed noise.
CREATE TABLE data_keys (id INTEGER PRIMARY KEY, app INTEGER NOT NULL REFERENCES apps, day INTEGER NOT NULL, wrapped BLOB NOT NULL) STRICT;

-- Every statement, by its place in the log. message is the commitment's seq, on
-- all statements about a message but the commitment itself. tag is a keyed hash
-- of the statement, of an attempt its id.
CREATE TABLE statements (
  seq INTEGER PRIMARY KEY,
  kind INTEGER NOT NULL,
  message INTEGER,
  data_key INTEGER NOT NULL,
  tag BLOB,
  leaf BLOB NOT NULL,
  statement BLOB NOT NULL,
  salt BLOB NOT NULL,
  promise BLOB NOT NULL
) STRICT;
CREATE INDEX statements_of_message ON statements (message, kind, tag) WHERE message IS NOT NULL;

-- What the relay knows of a message beside its commitment: where its envelope
-- lies in the spool, what has become of it, and when it is its turn: in phase 0
-- for its outcome, in phase 1 (ended) for the deletion of its envelope.
CREATE TABLE messages (
  seq INTEGER PRIMARY KEY,
  lookup BLOB NOT NULL UNIQUE,
  tag BLOB NOT NULL,
  app INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  carriers INTEGER NOT NULL,
  release INTEGER NOT NULL,
  segment INTEGER,
  start INTEGER NOT NULL,
  length INTEGER NOT NULL,
  ready INTEGER NOT NULL,
  outcome INTEGER NOT NULL,
  phase INTEGER NOT NULL,
  turn INTEGER
) STRICT;
CREATE INDEX messages_turn ON messages (phase, turn) WHERE turn IS NOT NULL;

-- Which blocks of seqs hold messages of a tenant: one row for up to 1024
-- messages, instead of an index entry for each.
CREATE TABLE app_blocks (app INTEGER NOT NULL, block INTEGER NOT NULL, PRIMARY KEY (app, block)) STRICT, WITHOUT ROWID;

-- The outbox: one row for each message and device, in a queue while it waits to
-- be tried.
CREATE TABLE routes (
  message INTEGER NOT NULL,
  device INTEGER NOT NULL,
  state INTEGER NOT NULL,
  handed INTEGER NOT NULL,
  receipts INTEGER NOT NULL,
  tries INTEGER NOT NULL,
  endpoint INTEGER NOT NULL,
  queue INTEGER,
  turn INTEGER NOT NULL,
  waiting INTEGER,
  PRIMARY KEY (message, device)
) STRICT, WITHOUT ROWID;
CREATE INDEX routes_turn ON routes (queue, turn) WHERE queue IS NOT NULL;
-- Routes of messages below the mark of inbox_mark that wait for their device;
-- later ones are known in memory.
CREATE INDEX routes_waiting ON routes (device, message) WHERE waiting IS NOT NULL;
CREATE TABLE inbox_mark (seq INTEGER NOT NULL) STRICT;
INSERT INTO inbox_mark (seq) VALUES (0);

-- Which MLS commit stands for a tenant's group and epoch, and until when that is
-- remembered. place and content are keyed hashes.
CREATE TABLE epochs (place BLOB PRIMARY KEY, content BLOB NOT NULL, until INTEGER NOT NULL, mark BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX epochs_until ON epochs (until);

-- Signing keys of devices and senders, as key events enrolled and revoked them.
-- owner is a keyed hash of tenant and recipient, of a sender's key of the tenant.
CREATE TABLE signing_keys (
  id INTEGER PRIMARY KEY,
  tag BLOB NOT NULL UNIQUE,
  owner BLOB NOT NULL,
  app INTEGER NOT NULL,
  sealed BLOB NOT NULL,
  enrolled INTEGER NOT NULL,
  revoked INTEGER NOT NULL
) STRICT;
CREATE INDEX signing_keys_owner ON signing_keys (owner, id);

CREATE TABLE key_events (seq INTEGER PRIMARY KEY, tag BLOB NOT NULL UNIQUE, owner BLOB NOT NULL) STRICT;
CREATE INDEX key_events_owner ON key_events (owner, seq);

CREATE TABLE endpoints (id INTEGER PRIMARY KEY AUTOINCREMENT, device INTEGER NOT NULL, carrier INTEGER NOT NULL, sealed BLOB NOT NULL) STRICT;
CREATE INDEX endpoints_of_device ON endpoints (device, id);

CREATE TABLE packages (id INTEGER PRIMARY KEY, device INTEGER NOT NULL, sealed BLOB NOT NULL) STRICT;
CREATE INDEX packages_of_device ON packages (device, id);

CREATE TABLE enrolments (
  id INTEGER PRIMARY KEY,
  tag BLOB NOT NULL UNIQUE,
  challenge BLOB NOT NULL UNIQUE,
  app INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  signing_key BLOB,
  sealed BLOB NOT NULL,
  answer BLOB
) STRICT;
CREATE INDEX enrolments_answered ON enrolments (app, id) WHERE signing_key IS NOT NULL;
CREATE INDEX enrolments_key ON enrolments (signing_key) WHERE signing_key IS NOT NULL;
CREATE INDEX enrolments_open ON enrolments (expires) WHERE signing_key IS NULL;
CREATE INDEX enrolments_kept ON enrolments (expires) WHERE signing_key IS NOT NULL;

-- Nonces of requests, in the order they came; memory knows them by value.
CREATE TABLE nonces (id INTEGER PRIMARY KEY, tag BLOB NOT NULL, until INTEGER NOT NULL, mark BLOB NOT NULL) STRICT;

CREATE TABLE api_keys (
  id INTEGER PRIMARY KEY,
  tag BLOB NOT NULL UNIQUE,
  app INTEGER NOT NULL,
  name BLOB NOT NULL,
  sealed BLOB NOT NULL,
  revoked INTEGER NOT NULL,
  UNIQUE (name)
) STRICT;

-- The spool: how far a segment is written (which its mark covers) and how many
-- envelopes in it are still referred to; and the ranges that are given up and not
-- yet erased.
CREATE TABLE segments (id INTEGER PRIMARY KEY, tail INTEGER NOT NULL, live INTEGER NOT NULL, mark BLOB NOT NULL) STRICT;
CREATE TABLE spent (segment INTEGER NOT NULL, start INTEGER NOT NULL, length INTEGER NOT NULL, mark BLOB NOT NULL, PRIMARY KEY (segment, start)) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE spent; DROP TABLE segments; DROP TABLE api_keys; DROP TABLE nonces; DROP TABLE enrolments;
DROP TABLE packages; DROP TABLE endpoints; DROP TABLE key_events; DROP TABLE epochs; DROP TABLE signing_keys; DROP TABLE routes; DROP TABLE inbox_mark;
DROP TABLE app_blocks; DROP TABLE messages; DROP TABLE statements; DROP TABLE data_keys; DROP TABLE apps;
DROP TABLE wrapped_keys;
