-- Times are milliseconds since the epoch, so that they compare alike in every database. Ids are never used twice
-- (AUTOINCREMENT): a credential of a deleted cluster must not fit a later one.

CREATE TABLE users (
    id                  INTEGER PRIMARY KEY AUTOINCREMENT,
    name                TEXT    NOT NULL UNIQUE,
    email               TEXT    NOT NULL DEFAULT '',
    avatar              TEXT    NOT NULL DEFAULT '',
    phone               TEXT    NOT NULL DEFAULT '',
    location            TEXT    NOT NULL DEFAULT '',
    bio                 TEXT    NOT NULL DEFAULT '',
    -- Empty for those who sign in elsewhere.
    password_hash       TEXT    NOT NULL,
    password_is_default BOOLEAN NOT NULL DEFAULT FALSE,
    enabled             BOOLEAN NOT NULL DEFAULT TRUE,
    created_at_ms       BIGINT  NOT NULL,
    updated_at_ms       BIGINT  NOT NULL
);

CREATE TABLE roles (
    name          TEXT   PRIMARY KEY,
    created_at_ms BIGINT NOT NULL
);

-- `object` is a resource as paths call it, or * for all; `action` is read or *.
CREATE TABLE role_permissions (
    role   TEXT NOT NULL REFERENCES roles (name) ON DELETE CASCADE,
    object TEXT NOT NULL,
    action TEXT NOT NULL,
    PRIMARY KEY (role, object, action)
);

INSERT INTO roles (name, created_at_ms) VALUES ('root', 0), ('guest', 0);
INSERT INTO role_permissions (role, object, action) VALUES ('root', '*', '*'), ('guest', '*', 'read');

CREATE TABLE user_roles (
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role    TEXT    NOT NULL REFERENCES roles (name),
    PRIMARY KEY (user_id, role)
);

-- One row per sign-in. Signing out sets revoked_at_ms; the row goes when the token would have expired anyway.
CREATE TABLE sessions (
    id            TEXT    PRIMARY KEY,
    user_id       INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at_ms BIGINT  NOT NULL,
    expires_at_ms BIGINT  NOT NULL,
    revoked_at_ms BIGINT
);

-- Tries since the last success, by account name whether or not there is such an account.
CREATE TABLE sign_in_tries (
    name        TEXT    PRIMARY KEY,
    tries       INTEGER NOT NULL,
    last_try_ms BIGINT  NOT NULL
);

CREATE TABLE signing_keys (
    kid           TEXT   PRIMARY KEY,
    pkcs8         BLOB   NOT NULL,
    created_at_ms BIGINT NOT NULL
);

-- The scheduler cluster and the seed peer cluster of the incumbent are one row here and share its id.
CREATE TABLE clusters (
    id                       INTEGER PRIMARY KEY AUTOINCREMENT,
    name                     TEXT    NOT NULL UNIQUE,
    bio                      TEXT    NOT NULL,
    scopes                   TEXT    NOT NULL,
    scheduler_cluster_config TEXT    NOT NULL,
    seed_peer_cluster_config TEXT    NOT NULL,
    peer_cluster_config      TEXT    NOT NULL,
    is_default               BOOLEAN NOT NULL,
    strict                   BOOLEAN NOT NULL,
    created_at_ms            BIGINT  NOT NULL,
    updated_at_ms            BIGINT  NOT NULL
);

-- Schedulers and seed peers: what holds a lease. Active means lease_until_ms lies ahead; nothing else says so.
CREATE TABLE instances (
    id                    INTEGER PRIMARY KEY AUTOINCREMENT,
    kind                  TEXT    NOT NULL CHECK (kind IN ('scheduler', 'seed_peer')),
    host_name             TEXT    NOT NULL,
    ip                    TEXT    NOT NULL,
    port                  INTEGER NOT NULL,
    url                   TEXT    NOT NULL,
    idc                   TEXT    NOT NULL,
    location              TEXT    NOT NULL,
    -- What a scheduler is used for, as JSON.
    features              TEXT    NOT NULL,
    cluster_id            INTEGER NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    lease_until_ms        BIGINT  NOT NULL,
    last_keep_alive_at_ms BIGINT  NOT NULL,
    created_at_ms         BIGINT  NOT NULL,
    updated_at_ms         BIGINT  NOT NULL,
    UNIQUE (kind, host_name, ip, cluster_id)
);

CREATE INDEX instances_by_cluster ON instances (kind, cluster_id);

-- `source` tells who made it: 'api' (root), 'environment' (DRAGONFLY_JOIN_TOKEN) or 'process' (the standalone).
CREATE TABLE join_tokens (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    name          TEXT    NOT NULL,
    hash          TEXT    NOT NULL UNIQUE,
    cluster_id    INTEGER REFERENCES clusters (id) ON DELETE CASCADE,
    source        TEXT    NOT NULL,
    created_at_ms BIGINT  NOT NULL
);
