-- As in ../sqlite.
CREATE TABLE IF NOT EXISTS writer (
    id          BIGINT NOT NULL PRIMARY KEY,
    tried_at_ms BIGINT NOT NULL
) ENGINE = InnoDB CHARSET = utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!50700 COLLATE utf8mb4_0900_bin */;
INSERT IGNORE INTO writer (id, tried_at_ms) VALUES (1, 0);
