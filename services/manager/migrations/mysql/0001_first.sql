-- As in ../sqlite. Text compares by its bytes, case and spaces at the end included; the collation that does so has one
-- name in MariaDB (read from /*M! */) and another in MySQL (/*!50700 */, which MariaDB skips). What defines tables is not
-- undone when a migration breaks off, so each may be done again. Keys are short enough for 4 bytes a character.

CREATE TABLE IF NOT EXISTS users (
    id                  BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name                VARCHAR(255) NOT NULL UNIQUE,
    email               VARCHAR(255) NOT NULL DEFAULT '',
    avatar              VARCHAR(255) NOT NULL DEFAULT '',
    phone               VARCHAR(255) NOT NULL DEFAULT '',
    location            VARCHAR(255) NOT NULL DEFAULT '',
    bio                 VARCHAR(500) NOT NULL DEFAULT '',
    password_hash       VARCHAR(500) NOT NULL,
    password_is_default BOOLEAN      NOT NULL DEFAULT FALSE,
    enabled             BOOLEAN      NOT NULL DEFAULT TRUE,
    created_at_ms       BIGINT       NOT NULL,
    updated_at_ms       BIGINT       NOT NULL
) ENGINE = InnoDB CHARSET = utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!50700 COLLATE utf8mb4_0900_bin */;

CREATE TABLE IF NOT EXISTS roles (
    name          VARCHAR(100) NOT NULL PRIMARY KEY,
    created_at_ms BIGINT       NOT NULL
) ENGINE = InnoDB CHARSET = utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!50700 COLLATE utf8mb4_0900_bin */;

CREATE TABLE IF NOT EXISTS role_permissions (
    role   VARCHAR(100) NOT NULL,
    object VARCHAR(100) NOT NULL,
    action VARCHAR(20)  NOT NULL,
    PRIMARY KEY (role, object, action),
    FOREIGN KEY (role) REFERENCES roles (name) ON DELETE CASCADE
) ENGINE = InnoDB CHARSET = utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!50700 COLLATE utf8mb4_0900_bin */;

INSERT IGNORE INTO roles (name, created_at_ms) VALUES ('root', 0), ('guest', 0);
INSERT IGNORE INTO role_permissions (role, object, action) VALUES ('root', '*', '*'), ('guest', '*', 'read');

CREATE TABLE IF NOT EXISTS user_roles (
    user_id BIGINT       NOT NULL,
    role    VARCHAR(100) NOT NULL,
    PRIMARY KEY (user_id, role),
    FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    FOREIGN KEY (role) REFERENCES roles (name)
) ENGINE = InnoDB CHARSET = utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!50700 COLLATE utf8mb4_0900_bin */;

CREATE TABLE IF NOT EXISTS sessions (
    id            VARCHAR(100) NOT NULL PRIMARY KEY,
    user_id       BIGINT       NOT NULL,
    created_at_ms BIGINT       NOT NULL,
    expires_at_ms BIGINT       NOT NULL,
    revoked_at_ms BIGINT,
    FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
) ENGINE = InnoDB CHARSET = utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!50700 COLLATE utf8mb4_0900_bin */;

CREATE TABLE IF NOT EXISTS sign_in_tries (
    name        VARCHAR(255) NOT NULL PRIMARY KEY,
    tries       BIGINT       NOT NULL,
    last_try_ms BIGINT       NOT NULL
) ENGINE = InnoDB CHARSET = utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!50700 COLLATE utf8mb4_0900_bin */;

CREATE TABLE IF NOT EXISTS signing_keys (
    kid           VARCHAR(100)   NOT NULL PRIMARY KEY,
    pkcs8         VARBINARY(500) NOT NULL,
    created_at_ms BIGINT         NOT NULL
) ENGINE = InnoDB CHARSET = utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!50700 COLLATE utf8mb4_0900_bin */;

CREATE TABLE IF NOT EXISTS clusters (
    id                       BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name                     VARCHAR(255) NOT NULL UNIQUE,
    bio                      TEXT         NOT NULL,
    scopes                   MEDIUMTEXT   NOT NULL,
    scheduler_cluster_config MEDIUMTEXT   NOT NULL,
    seed_peer_cluster_config MEDIUMTEXT   NOT NULL,
    peer_cluster_config      MEDIUMTEXT   NOT NULL,
    is_default               BOOLEAN      NOT NULL,
    strict                   BOOLEAN      NOT NULL,
    created_at_ms            BIGINT       NOT NULL,
    updated_at_ms            BIGINT       NOT NULL
) ENGINE = InnoDB CHARSET = utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!50700 COLLATE utf8mb4_0900_bin */;

CREATE TABLE IF NOT EXISTS instances (
    id                    BIGINT        NOT NULL AUTO_INCREMENT PRIMARY KEY,
    kind                  VARCHAR(20)   NOT NULL CHECK (kind IN ('scheduler', 'seed_peer')),
    host_name             VARCHAR(255)  NOT NULL,
    ip                    VARCHAR(50)   NOT NULL,
    port                  BIGINT        NOT NULL,
    url                   VARCHAR(1024) NOT NULL,
    idc                   VARCHAR(255)  NOT NULL,
    location              VARCHAR(255)  NOT NULL,
    features              VARCHAR(255)  NOT NULL,
    cluster_id            BIGINT        NOT NULL,
    lease_until_ms        BIGINT        NOT NULL,
    last_keep_alive_at_ms BIGINT        NOT NULL,
    created_at_ms         BIGINT        NOT NULL,
    updated_at_ms         BIGINT        NOT NULL,
    UNIQUE (kind, host_name, ip, cluster_id),
    INDEX instances_by_cluster (kind, cluster_id),
    FOREIGN KEY (cluster_id) REFERENCES clusters (id) ON DELETE CASCADE
) ENGINE = InnoDB CHARSET = utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!50700 COLLATE utf8mb4_0900_bin */;

CREATE TABLE IF NOT EXISTS join_tokens (
    id            BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name          VARCHAR(255) NOT NULL,
    hash          VARCHAR(100) NOT NULL UNIQUE,
    cluster_id    BIGINT,
    source        VARCHAR(20)  NOT NULL,
    created_at_ms BIGINT       NOT NULL,
    FOREIGN KEY (cluster_id) REFERENCES clusters (id) ON DELETE CASCADE
) ENGINE = InnoDB CHARSET = utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!50700 COLLATE utf8mb4_0900_bin */;
