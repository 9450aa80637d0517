//! Everything the manager logs while the tests run, and that no secret is in it.

use std::io;
use std::sync::Once;

use df_api::manager::CreateJoinTokenRequest;
use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

use crate::running::{Running, SQLITE, refusal, scheduler, sign_in};

static LOGGED: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static RECORDING: Once = Once::new();

struct Recorder;

impl io::Write for Recorder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Recorder {
    type Writer = Self;
    fn make_writer(&self) -> Self {
        Recorder
    }
}

/// Whether a line has all of these.
pub fn has_line(parts: &[&str]) -> bool {
    let logged = LOGGED.lock();
    let text = String::from_utf8_lossy(&logged);
    text.lines().any(|line| parts.iter().all(|part| line.contains(part)))
}

pub fn record() {
    RECORDING.call_once(|| {
        let filter = "trace,hyper_util=info,mio=info";
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(Recorder).init();
    });
}

fn logged() -> String {
    String::from_utf8_lossy(&LOGGED.lock()).into_owned()
}

#[tokio::test]
async fn no_secret_is_ever_logged_or_answered_twice() {
    let manager = Running::start_with(SQLITE, |config| {
        config.initial_root_password = Some("correct horse battery".into());
        config.join_token = Some("environment-token-0123456789".into());
    })
    .await;
    let session = manager.anonymous().sign_in(&sign_in("root", "correct horse battery")).await.unwrap().token;
    refusal(manager.anonymous().sign_in(&sign_in("root", "wrong staple")).await);
    let root = manager.with(&session);
    let made =
        root.create_join_token(&CreateJoinTokenRequest { name: "rack 7".into(), cluster_id: None }).await.unwrap();
    let lease = manager.with(&made.token).renew_scheduler_lease(&scheduler("s1", 1)).await.unwrap();
    manager.with("environment-token-0123456789").renew_scheduler_lease(&scheduler("s2", 1)).await.unwrap();
    refusal(manager.with("dfj_made-up-0123456789").renew_scheduler_lease(&scheduler("s3", 1)).await);

    let listed = format!("{:?} {:?}", root.list_join_tokens().await.unwrap(), root.get_session().await.unwrap());
    let stored = std::fs::read(manager.folder.path().join("data/manager.db-wal")).unwrap();
    let stored = String::from_utf8_lossy(&stored).into_owned();
    root.sign_out().await.unwrap();

    let log = logged();
    assert!(log.contains("a join token was made"), "the recorder records");
    let secrets = [
        "correct horse battery",
        "wrong staple",
        "environment-token-0123456789",
        "dfj_made-up-0123456789",
        &session,
        &made.token,
        &lease.membership.credential,
    ];
    for secret in secrets {
        assert!(!log.contains(secret), "logged: {secret}");
        assert!(!listed.contains(secret) && !stored.contains(secret), "kept in the clear: {secret}");
    }
    assert!(!log.contains("argon2id"));
}
