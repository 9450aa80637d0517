CREATE TABLE IF NOT EXISTS personal_access_tokens (
    id            BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name          VARCHAR(100) NOT NULL,
    bio           VARCHAR(500) NOT NULL,
    hash          VARCHAR(100) NOT NULL UNIQUE,
    scopes        TEXT         NOT NULL,
    active        BOOLEAN      NOT NULL,
    expires_at_ms BIGINT       NOT NULL,
    user_id       BIGINT       NOT NULL,
    created_at_ms BIGINT       NOT NULL,
    updated_at_ms BIGINT       NOT NULL,
    UNIQUE (user_id, name),
    FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
) ENGINE = InnoDB CHARSET = utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!50700 COLLATE utf8mb4_0900_bin */;

CREATE TABLE IF NOT EXISTS audits (
    id             BIGINT        NOT NULL AUTO_INCREMENT PRIMARY KEY,
    actor_type     VARCHAR(20)   NOT NULL,
    actor_name     VARCHAR(255)  NOT NULL,
    operation      VARCHAR(20)   NOT NULL,
    path           VARCHAR(1024) NOT NULL,
    status_code    BIGINT        NOT NULL,
    detail         TEXT          NOT NULL,
    operated_at_ms BIGINT        NOT NULL,
    updated_at_ms  BIGINT        NOT NULL,
    INDEX audits_by_time (operated_at_ms)
) ENGINE = InnoDB CHARSET = utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!50700 COLLATE utf8mb4_0900_bin */;
