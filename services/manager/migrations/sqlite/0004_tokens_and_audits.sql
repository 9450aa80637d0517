-- Tokens of programs that act for a user; `scopes` as JSON, as it is on the wire.
CREATE TABLE personal_access_tokens (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    name          TEXT    NOT NULL,
    bio           TEXT    NOT NULL,
    hash          TEXT    NOT NULL UNIQUE,
    scopes        TEXT    NOT NULL,
    active        BOOLEAN NOT NULL,
    expires_at_ms BIGINT  NOT NULL,
    user_id       INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at_ms BIGINT  NOT NULL,
    updated_at_ms BIGINT  NOT NULL,
    UNIQUE (user_id, name)
);

-- Written before a call is carried out, with status 0, and again with what became of it.
CREATE TABLE audits (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    actor_type     TEXT    NOT NULL,
    actor_name     TEXT    NOT NULL,
    operation      TEXT    NOT NULL,
    path           TEXT    NOT NULL,
    status_code    INTEGER NOT NULL,
    detail         TEXT    NOT NULL,
    operated_at_ms BIGINT  NOT NULL,
    updated_at_ms  BIGINT  NOT NULL
);

CREATE INDEX audits_by_time ON audits (operated_at_ms);
