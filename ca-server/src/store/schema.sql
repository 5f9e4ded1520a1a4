-- Version 1. Primary data: leaf, document, envelope, binding (tbs, signature, openings). All else is an index.
CREATE TABLE head (
  id       INTEGER PRIMARY KEY CHECK (id = 1),
  size     INTEGER NOT NULL,
  root     BLOB    NOT NULL,
  frontier BLOB    NOT NULL,
  fence    INTEGER NOT NULL,      -- shuts out an older writer of the same file
  last_ms  INTEGER NOT NULL       -- time of the newest leaf
) STRICT;

-- Every head that was committed: a checkpoint someone saw is checked against it.
CREATE TABLE past_head (size INTEGER PRIMARY KEY, root BLOB NOT NULL) STRICT;

CREATE TABLE leaf (idx INTEGER PRIMARY KEY, entry BLOB NOT NULL) STRICT;

-- The only random index of the hot path: kind byte and 16 bytes of a hash, to the entry that owns the claim.
CREATE TABLE claim (key BLOB PRIMARY KEY, idx INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE document (
  hash    BLOB PRIMARY KEY,
  idx     INTEGER NOT NULL,
  kind    TEXT    NOT NULL,
  name    TEXT    NOT NULL,
  support BLOB    NOT NULL        -- document, companion and approvals as the signer is shown them
) STRICT, WITHOUT ROWID;

CREATE TABLE grant_state (
  hash     BLOB PRIMARY KEY,
  maximum  INTEGER NOT NULL,
  scrap    INTEGER NOT NULL,
  first    INTEGER NOT NULL,
  last     INTEGER NOT NULL,
  issued   INTEGER NOT NULL,
  scrapped INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE lot (
  hash     BLOB PRIMARY KEY,
  issued   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE envelope (id INTEGER PRIMARY KEY, der BLOB NOT NULL, signature BLOB NOT NULL) STRICT;

CREATE TABLE binding (
  idx       INTEGER PRIMARY KEY,  -- index of the `bind` leaf
  stage     INTEGER NOT NULL,     -- 1 bound, 2 confirmed, 3 voided, 4 scrapped
  last_idx  INTEGER NOT NULL,     -- newest entry of the subject
  last_hash BLOB    NOT NULL,
  request   BLOB    NOT NULL,     -- request id of the newest holder
  holder    TEXT    NOT NULL,     -- station that may confirm or void
  envelope  INTEGER NOT NULL REFERENCES envelope (id),
  unit      INTEGER NOT NULL,     -- which unit of the envelope
  lot       BLOB    NOT NULL,
  facts     BLOB    NOT NULL,     -- hash of what a retry must repeat
  tbs       BLOB    NOT NULL,
  openings  BLOB    NOT NULL,
  signature BLOB,                 -- r and s, once, never changed
  alarm     TEXT                  -- the signer's reason for setting the unit aside
) STRICT;
CREATE INDEX unsigned ON binding (idx) WHERE signature IS NULL;

-- Refusals of one station in one window that were only counted.
CREATE TABLE refusal_count (
  station TEXT    NOT NULL,
  day     INTEGER NOT NULL,
  minute  INTEGER NOT NULL,
  own     INTEGER NOT NULL,       -- refusals with a leaf of their own
  counted INTEGER NOT NULL,       -- refusals waiting for the aggregated leaf
  reason  TEXT    NOT NULL,       -- code of the newest of them
  PRIMARY KEY (station, minute)
) STRICT, WITHOUT ROWID;
