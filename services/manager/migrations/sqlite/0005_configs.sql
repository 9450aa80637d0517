-- Named values. `gc`: how long audits and jobs are kept, in nanoseconds, as the incumbent writes it.
CREATE TABLE configs (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    name          TEXT    NOT NULL UNIQUE,
    value         TEXT    NOT NULL,
    bio           TEXT    NOT NULL,
    user_id       BIGINT  NOT NULL,
    created_at_ms BIGINT  NOT NULL,
    updated_at_ms BIGINT  NOT NULL
);

INSERT INTO configs (name, value, bio, user_id, created_at_ms, updated_at_ms)
VALUES ('gc', '{"audit":{"ttl":604800000000000},"job":{"ttl":21600000000000}}', '', 1, 0, 0);
