-- One row. Who writes to a server that managers share holds its lock; whether writing works is tried on it.
CREATE TABLE writer (
    id          BIGINT NOT NULL PRIMARY KEY,
    tried_at_ms BIGINT NOT NULL
);
INSERT INTO writer (id, tried_at_ms) VALUES (1, 0);
