-- What people asked of clusters. What it takes to open an origin is sealed, and erased at the end.
CREATE TABLE jobs (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id       TEXT    NOT NULL UNIQUE,
    kind          TEXT    NOT NULL,
    bio           TEXT    NOT NULL,
    args          TEXT    NOT NULL,
    secrets       TEXT    NOT NULL,
    user_id       INTEGER NOT NULL,
    state         TEXT    NOT NULL,
    ends_at_ms    BIGINT  NOT NULL,
    created_at_ms BIGINT  NOT NULL,
    updated_at_ms BIGINT  NOT NULL
);
CREATE INDEX jobs_by_state ON jobs (state, ends_at_ms);

-- A job in one cluster, and which scheduler has it.
CREATE TABLE job_parts (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id         INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    cluster_id     INTEGER NOT NULL,
    cluster_name   TEXT    NOT NULL,
    state          TEXT    NOT NULL,
    error          TEXT    NOT NULL,
    progress       TEXT    NOT NULL,
    result         TEXT    NOT NULL,
    holder         TEXT    NOT NULL,
    attempt        BIGINT  NOT NULL,
    lease_until_ms BIGINT  NOT NULL,
    created_at_ms  BIGINT  NOT NULL,
    updated_at_ms  BIGINT  NOT NULL
);
CREATE INDEX job_parts_by_job ON job_parts (job_id);
CREATE INDEX job_parts_by_cluster ON job_parts (cluster_id, state, id);
