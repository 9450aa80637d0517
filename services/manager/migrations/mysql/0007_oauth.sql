CREATE TABLE IF NOT EXISTS oauth (
    id            BIGINT        NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name          VARCHAR(100)  NOT NULL UNIQUE,
    bio           VARCHAR(500)  NOT NULL,
    client_id     VARCHAR(256)  NOT NULL,
    client_secret TEXT          NOT NULL,
    redirect_url  VARCHAR(1024) NOT NULL,
    issuer        VARCHAR(1024) NOT NULL,
    created_at_ms BIGINT        NOT NULL,
    updated_at_ms BIGINT        NOT NULL
) ENGINE = InnoDB CHARSET = utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!50700 COLLATE utf8mb4_0900_bin */;

CREATE TABLE IF NOT EXISTS oauth_users (
    oauth_id BIGINT       NOT NULL,
    subject  VARCHAR(255) NOT NULL,
    user_id  BIGINT       NOT NULL,
    PRIMARY KEY (oauth_id, subject),
    FOREIGN KEY (oauth_id) REFERENCES oauth (id) ON DELETE CASCADE,
    FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
) ENGINE = InnoDB CHARSET = utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!50700 COLLATE utf8mb4_0900_bin */;
