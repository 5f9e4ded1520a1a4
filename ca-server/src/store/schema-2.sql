-- Version 2: lots in true numbers, refusals that can be read, and the time that was last believed.
ALTER TABLE lot ADD COLUMN confirmed INTEGER NOT NULL DEFAULT 0;  -- units whose stage is 2 now
ALTER TABLE lot ADD COLUMN voided    INTEGER NOT NULL DEFAULT 0;  -- units whose stage is 3 now
UPDATE lot SET
  confirmed = (SELECT count(*) FROM binding WHERE binding.lot = lot.hash AND stage = 2),
  voided    = (SELECT count(*) FROM binding WHERE binding.lot = lot.hash AND stage = 3);

-- The newest time that the server's clock showed and that was believed; an operator may set it back.
ALTER TABLE head ADD COLUMN wall_ms INTEGER NOT NULL DEFAULT 0;
UPDATE head SET wall_ms = last_ms;

-- Primary data beside a `refuse` leaf: its openings. The other columns are read from leaf and openings, for listing.
CREATE TABLE refusal (
  idx      INTEGER PRIMARY KEY,   -- index of the `refuse` leaf
  at_ms    INTEGER NOT NULL,      -- when; of an aggregated leaf, when its window began
  station  TEXT    NOT NULL,
  reason   TEXT    NOT NULL,
  count    INTEGER NOT NULL,
  openings BLOB    NOT NULL
) STRICT;
