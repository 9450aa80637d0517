-- $1 stream, $2 id, $3 the most microseconds that pass, $4 events, $5 channel.
-- The row of the head is what writers queue for: positions have no gaps, and become visible in their order.
WITH head AS (
    UPDATE dragonfly_scheduler.head SET
        position = position + 1,
        before = id,
        id = $2,
        at_us = at_us
            + GREATEST(0, LEAST($3, (extract(epoch FROM clock_timestamp() - moved_at) * 1000000)::bigint)),
        moved_at = clock_timestamp(),
        unsaved_bytes = unsaved_bytes + octet_length($4)
    WHERE stream = $1
    RETURNING position, before, at_us, unsaved_bytes, saved_bytes
), entry AS (
    INSERT INTO dragonfly_scheduler.entry (stream, position, id, before, at_us, events)
    SELECT $1, position, $2, before, at_us, $4 FROM head
)
SELECT position, before, at_us, unsaved_bytes, saved_bytes, pg_notify($5, $1 || ' ' || position)::text FROM head
