-- Providers that people sign in with. Their secrets are sealed.
CREATE TABLE oauth (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    name          TEXT    NOT NULL UNIQUE,
    bio           TEXT    NOT NULL,
    client_id     TEXT    NOT NULL,
    client_secret TEXT    NOT NULL,
    redirect_url  TEXT    NOT NULL,
    issuer        TEXT    NOT NULL,
    created_at_ms BIGINT  NOT NULL,
    updated_at_ms BIGINT  NOT NULL
);

-- Which user somebody at a provider is here, by the provider's own id.
CREATE TABLE oauth_users (
    oauth_id INTEGER NOT NULL REFERENCES oauth (id) ON DELETE CASCADE,
    subject  TEXT    NOT NULL,
    user_id  INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (oauth_id, subject)
);
