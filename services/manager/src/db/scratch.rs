//! Databases for the tests of these modules, and how a test is done on every kind of them.

use df_testkit::{DatabaseKind, TestDatabase};
use tempfile::TempDir;

use super::Db;

/// One database, empty but for its tables; gone with the folder, or with the server that all tests share.
pub struct Scratch {
    pub db: Db,
    pub database: TestDatabase,
    pub folder: TempDir,
}

// === impl Scratch ===

impl Scratch {
    /// `None` where there is no such server.
    pub async fn new(kind: DatabaseKind) -> Option<Self> {
        let database = TestDatabase::new(kind).await.unwrap()?;
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(database.url.as_deref(), folder.path()).await.unwrap();
        Some(Self { db, database, folder })
    }

    /// As another manager has it open.
    pub async fn second(&self) -> Db {
        Db::open(self.database.url.as_deref(), self.folder.path()).await.unwrap()
    }
}

/// A test for each name on each kind of database; the functions of these names take a [`Scratch`].
macro_rules! on_every_database {
    ($($test:ident),+ $(,)?) => {
        $crate::db::scratch::on_every_database!(@sqlite Sqlite: $($test),+);
        $crate::db::scratch::on_every_database!(@postgres Postgres: $($test),+);
        $crate::db::scratch::on_every_database!(@mariadb MariaDb: $($test),+);
    };
    (@$module:ident $kind:ident: $($test:ident),+) => {
        mod $module {
            $(
                #[tokio::test]
                async fn $test() {
                    let scratch = $crate::db::scratch::Scratch::new(df_testkit::DatabaseKind::$kind).await;
                    if let Some(scratch) = scratch {
                        super::$test(scratch).await;
                    }
                }
            )+
        }
    };
}

pub(crate) use on_every_database;
