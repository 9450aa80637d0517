-- $1 stream, $2 position, $3 id, $4 at_us, $5 state. Of two that save, the later one is right.
WITH saved AS (
    INSERT INTO dragonfly_scheduler.saved AS known (stream, position, id, at_us, state) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (stream) DO UPDATE SET
        position = EXCLUDED.position, id = EXCLUDED.id, at_us = EXCLUDED.at_us, state = EXCLUDED.state
    WHERE known.position < EXCLUDED.position
    RETURNING position
), head AS (
    UPDATE dragonfly_scheduler.head SET unsaved_bytes = 0, saved_bytes = octet_length($5)
    WHERE stream = $1 AND EXISTS (SELECT FROM saved)
)
DELETE FROM dragonfly_scheduler.entry WHERE stream = $1 AND position <= (SELECT position FROM saved)
