-- Daemons, as they told of themselves. Active is who was seen lately; nothing else says so.
CREATE TABLE peers (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    host_name        TEXT    NOT NULL,
    ip               TEXT    NOT NULL,
    cluster_id       INTEGER NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    seed             BOOLEAN NOT NULL,
    port             INTEGER NOT NULL,
    idc              TEXT    NOT NULL,
    location         TEXT    NOT NULL,
    os               TEXT    NOT NULL,
    platform         TEXT    NOT NULL,
    platform_family  TEXT    NOT NULL,
    platform_version TEXT    NOT NULL,
    kernel_version   TEXT    NOT NULL,
    git_version      TEXT    NOT NULL,
    last_seen_at_ms  BIGINT  NOT NULL,
    created_at_ms    BIGINT  NOT NULL,
    updated_at_ms    BIGINT  NOT NULL,
    UNIQUE (host_name, ip, cluster_id)
);

CREATE INDEX peers_by_cluster ON peers (cluster_id);
