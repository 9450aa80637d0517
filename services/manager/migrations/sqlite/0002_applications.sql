-- How downloads of an application rank; `priority` as it is on the wire.
CREATE TABLE applications (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    name          TEXT    NOT NULL UNIQUE,
    url           TEXT    NOT NULL,
    bio           TEXT    NOT NULL,
    priority      TEXT    NOT NULL,
    user_id       BIGINT  NOT NULL,
    created_at_ms BIGINT  NOT NULL,
    updated_at_ms BIGINT  NOT NULL
);
