CREATE TABLE IF NOT EXISTS jobs (
    id            BIGINT        NOT NULL AUTO_INCREMENT PRIMARY KEY,
    task_id       VARCHAR(64)   NOT NULL UNIQUE,
    kind          VARCHAR(40)   NOT NULL,
    bio           VARCHAR(1000) NOT NULL,
    args          LONGTEXT      NOT NULL,
    secrets       LONGTEXT      NOT NULL,
    user_id       BIGINT        NOT NULL,
    state         VARCHAR(16)   NOT NULL,
    ends_at_ms    BIGINT        NOT NULL,
    created_at_ms BIGINT        NOT NULL,
    updated_at_ms BIGINT        NOT NULL,
    KEY jobs_by_state (state, ends_at_ms)
) ENGINE = InnoDB CHARSET = utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!50700 COLLATE utf8mb4_0900_bin */;

CREATE TABLE IF NOT EXISTS job_parts (
    id             BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    job_id         BIGINT       NOT NULL,
    cluster_id     BIGINT       NOT NULL,
    cluster_name   VARCHAR(255) NOT NULL,
    state          VARCHAR(16)  NOT NULL,
    error          TEXT         NOT NULL,
    progress       TEXT         NOT NULL,
    result         LONGTEXT     NOT NULL,
    holder         VARCHAR(64)  NOT NULL,
    attempt        BIGINT       NOT NULL,
    lease_until_ms BIGINT       NOT NULL,
    created_at_ms  BIGINT       NOT NULL,
    updated_at_ms  BIGINT       NOT NULL,
    KEY job_parts_by_cluster (cluster_id, state, id),
    FOREIGN KEY (job_id) REFERENCES jobs (id) ON DELETE CASCADE
) ENGINE = InnoDB CHARSET = utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!50700 COLLATE utf8mb4_0900_bin */;
