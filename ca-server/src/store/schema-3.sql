-- Version 3: lots as the log's rules count them, how they end, and what stations asked for beside envelopes.
ALTER TABLE grant_state ADD COLUMN in_lots INTEGER NOT NULL DEFAULT 0;  -- whether every further bind names its lot
ALTER TABLE grant_state ADD COLUMN closed INTEGER;                       -- index of the entry that closed it
ALTER TABLE lot ADD COLUMN scrapped INTEGER NOT NULL DEFAULT 0;         -- units whose stage is 4 now
ALTER TABLE binding ADD COLUMN in_lot INTEGER NOT NULL DEFAULT 0;       -- whether the leaf names the lot

-- What is known of a lot from leaves that name it; table lot counts units of older leaves too.
CREATE TABLE lot_state (
  hash      BLOB PRIMARY KEY,
  grant_    BLOB    NOT NULL,
  quantity  INTEGER NOT NULL,
  bound     INTEGER NOT NULL,
  confirmed INTEGER NOT NULL,
  voided    INTEGER NOT NULL,
  scrapped  INTEGER NOT NULL,
  keyless   INTEGER NOT NULL,
  closed    INTEGER,              -- index of the `lot-close` leaf
  differs   INTEGER NOT NULL DEFAULT 0  -- whether that leaf says that the counts differ
) STRICT, WITHOUT ROWID;

-- Primary data beside a `scrap` or `lot-close` leaf: the request its station signed, and the openings of a scrap's fields.
CREATE TABLE lot_request (
  idx       INTEGER PRIMARY KEY,  -- index of the leaf
  der       BLOB NOT NULL,
  signature BLOB NOT NULL,
  openings  BLOB
) STRICT;
