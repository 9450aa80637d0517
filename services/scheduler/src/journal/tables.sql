-- Many may come at once; the second does nothing.
BEGIN;
SELECT pg_advisory_xact_lock(7310871102);
CREATE SCHEMA IF NOT EXISTS dragonfly_scheduler;
CREATE TABLE IF NOT EXISTS dragonfly_scheduler.head (
    stream text PRIMARY KEY,
    began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    first_id bigint NOT NULL,
    position bigint NOT NULL DEFAULT 0,
    id bigint NOT NULL,
    before bigint NOT NULL DEFAULT 0,
    at_us bigint NOT NULL DEFAULT 0,
    moved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    unsaved_bytes bigint NOT NULL DEFAULT 0,
    saved_bytes bigint NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS dragonfly_scheduler.entry (
    stream text NOT NULL REFERENCES dragonfly_scheduler.head ON DELETE CASCADE,
    position bigint NOT NULL,
    id bigint NOT NULL,
    before bigint NOT NULL,
    at_us bigint NOT NULL,
    events bytea NOT NULL,
    PRIMARY KEY (stream, position)
);
CREATE TABLE IF NOT EXISTS dragonfly_scheduler.saved (
    stream text PRIMARY KEY REFERENCES dragonfly_scheduler.head ON DELETE CASCADE,
    position bigint NOT NULL,
    id bigint NOT NULL,
    at_us bigint NOT NULL,
    state bytea NOT NULL
);
COMMIT;
