CREATE TABLE IF NOT EXISTS configs (
    id            BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name          VARCHAR(100) NOT NULL UNIQUE,
    value         TEXT         NOT NULL,
    bio           VARCHAR(500) NOT NULL,
    user_id       BIGINT       NOT NULL,
    created_at_ms BIGINT       NOT NULL,
    updated_at_ms BIGINT       NOT NULL
) ENGINE = InnoDB CHARSET = utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!50700 COLLATE utf8mb4_0900_bin */;

INSERT IGNORE INTO configs (name, value, bio, user_id, created_at_ms, updated_at_ms)
VALUES ('gc', '{"audit":{"ttl":604800000000000},"job":{"ttl":21600000000000}}', '', 1, 0, 0);
