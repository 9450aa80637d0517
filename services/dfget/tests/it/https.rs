//! dfget of an https URL whose server has a certificate of an authority that the system does not know.

use std::process::Output;

use df_testkit::tls::Authority;
use df_testkit::{Content, FakeOrigin, TlsFront, free_port, random_bytes};

use crate::daemon::Daemon;

async fn start() -> (FakeOrigin, TlsFront, Vec<u8>) {
    let origin = FakeOrigin::start().await.unwrap();
    let body = random_bytes(11, 3_000_000);
    origin.put("file", Content::new(body.clone()));
    let front = TlsFront::start(origin.address()).await.unwrap();
    (origin, front, body.to_vec())
}

/// Host, reason and remedy, and no log besides.
fn says_whom_not_to_trust(output: &Output, front: &TlsFront) {
    let said = crate::said(output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    for part in [&front.address().to_string(), "invalid peer certificate", "upstream.caCerts", "SSL_CERT_FILE"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.lines().all(|line| line.starts_with("dfget: ")), "{said}");
}

#[tokio::test]
async fn the_daemon_trusts_whom_its_configuration_names() {
    let (origin, front, body) = start().await;
    let (url, allow) = (format!("{}/file", front.base_url()), [front.base_url()]);
    for authority in [None, Some(Authority::new().unwrap().pem())] {
        let daemon = match authority {
            None => Daemon::start(&allow).await,
            Some(other) => Daemon::trusting(&other, &allow).await,
        };
        says_whom_not_to_trust(&daemon.dfget(&[&url, "-O", "out"]).await, &front);
        assert!(!daemon.dir().join("out").exists());
    }
    assert_eq!(origin.stats("file").requests, 0);
    let daemon = Daemon::trusting(front.ca_pem(), &allow).await;
    daemon.told(&[&url, "-O", "out"]).await;
    assert!(std::fs::read(daemon.path("out")).unwrap() == body);
}

#[tokio::test]
async fn without_a_daemon_the_authority_is_that_of_the_environment() {
    let (origin, front, body) = start().await;
    let dir = tempfile::tempdir().unwrap();
    let (out, file) = (dir.path().join("out"), dir.path().join("authority.pem"));
    let fetch = async |authority: Option<&str>| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dfget"));
        command.arg(format!("{}/file", front.base_url())).arg("-O").arg(&out);
        command.args(["--daemon", &format!("http://127.0.0.1:{}", free_port().unwrap())]);
        command.env_remove("SSL_CERT_FILE");
        if let Some(pem) = authority {
            std::fs::write(&file, pem).unwrap();
            command.env("SSL_CERT_FILE", &file);
        }
        crate::daemon::run(command).await
    };
    for other in [None, Some(Authority::new().unwrap().pem())] {
        says_whom_not_to_trust(&fetch(other.as_deref()).await, &front);
        assert!(!out.exists());
    }
    assert_eq!(origin.stats("file").requests, 0);
    let output = fetch(Some(front.ca_pem())).await;
    assert_eq!(output.status.code(), Some(0), "{}", crate::said(&output));
    assert!(std::fs::read(&out).unwrap() == body);
}
