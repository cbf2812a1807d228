-- +goose Up
-- Every column of every row is either sealed, bound to what is sealed, said by the
-- signed statements, or covered by its row's mark, a keyed hash (a route by its
-- check): fsck finds a change in any of them. The few that it cannot tell are
-- listed in its test.

-- The store's own keys, wrapped by the key service.
CREATE TABLE wrapped_keys (name TEXT PRIMARY KEY, wrapped BLOB NOT NULL) STRICT, WITHOUT ROWID;

-- Tenants: a keyed look-up and the sealed name.
CREATE TABLE apps (id INTEGER PRIMARY KEY, tag BLOB NOT NULL UNIQUE, sealed BLOB NOT NULL) STRICT;

-- Data keys: one of a tenant, a day and an opening of the store. Destroying a
-- row makes all that it sealed noise.
CREATE TABLE data_keys (id INTEGER PRIMARY KEY, app INTEGER NOT NULL REFERENCES apps, day INTEGER NOT NULL, wrapped BLOB NOT NULL) STRICT;

-- Promises, one for a group of statements: the signed root and the hashes that
-- lead to it. A statement has its place in one, and makes its own part again.
CREATE TABLE promises (id INTEGER PRIMARY KEY, sealed BLOB NOT NULL) STRICT;

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
  promise INTEGER,
  place INTEGER NOT NULL,
  outcome_by INTEGER NOT NULL
) STRICT;
CREATE INDEX statements_of_message ON statements (message, kind, tag) WHERE message IS NOT NULL;

-- What the relay knows of a message beside its commitment: where its envelope
-- lies in the spool (segment 0: it is gone), what has become of it, its routes
-- (routes.go), and in turn when the earliest of them is to be tried. The row is
-- all that changes while a message is on its way, and it keeps its length.
CREATE TABLE messages (
  seq INTEGER PRIMARY KEY,
  lookup BLOB NOT NULL UNIQUE,
  tag BLOB NOT NULL,
  app INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  carriers INTEGER NOT NULL,
  release INTEGER NOT NULL,
  segment INTEGER NOT NULL,
  start INTEGER NOT NULL,
  length INTEGER NOT NULL,
  ready INTEGER NOT NULL,
  outcome INTEGER NOT NULL,
  routes BLOB NOT NULL,
  turn INTEGER NOT NULL
) STRICT;
CREATE INDEX messages_ready ON messages (seq) WHERE ready != 0 AND outcome = 0;
CREATE INDEX messages_turn ON messages (turn) WHERE turn < 0x400000000000;

-- In which blocks of 1024 seqs messages expire, and in which second: one row for
-- many messages, instead of an index entry for each.
CREATE TABLE expiring (second INTEGER NOT NULL, block INTEGER NOT NULL, PRIMARY KEY (second, block)) STRICT, WITHOUT ROWID;

-- Which blocks of seqs hold messages of a tenant: one row for up to 1024
-- messages, instead of an index entry for each.
CREATE TABLE app_blocks (app INTEGER NOT NULL, block INTEGER NOT NULL, PRIMARY KEY (app, block)) STRICT, WITHOUT ROWID;

-- How far two walks along the messages have come: fresh is the first seq whose
-- message was never claimed; inbox is the first whose waiting devices are known
-- in memory. Those that wait for older ones stand in waiting.
CREATE TABLE marks (fresh INTEGER NOT NULL, inbox INTEGER NOT NULL) STRICT;
INSERT INTO marks (fresh, inbox) VALUES (0, 0);
CREATE TABLE waiting (device INTEGER NOT NULL, message INTEGER NOT NULL, PRIMARY KEY (device, message)) STRICT, WITHOUT ROWID;

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
DROP TABLE packages; DROP TABLE endpoints; DROP TABLE key_events; DROP TABLE epochs; DROP TABLE signing_keys; DROP TABLE waiting; DROP TABLE marks;
DROP TABLE app_blocks; DROP TABLE expiring; DROP TABLE messages; DROP TABLE statements; DROP TABLE promises; DROP TABLE data_keys; DROP TABLE apps;
DROP TABLE wrapped_keys;
