-- A name may be longer than a key: what is unique is its hash.
CREATE TABLE IF NOT EXISTS applications (
    id            BIGINT        NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name          VARCHAR(1024) NOT NULL,
    name_hash     BINARY(32)    GENERATED ALWAYS AS (UNHEX(SHA2(name, 256))) STORED UNIQUE,
    url           TEXT          NOT NULL,
    bio           TEXT          NOT NULL,
    priority      MEDIUMTEXT    NOT NULL,
    user_id       BIGINT        NOT NULL,
    created_at_ms BIGINT        NOT NULL,
    updated_at_ms BIGINT        NOT NULL
) ENGINE = InnoDB CHARSET = utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!50700 COLLATE utf8mb4_0900_bin */;
