//! Keys for object stores in the usual variables and files: of a real process, because they are the process's.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use df_api::dfdaemon::CreateTaskRequest;
use df_api::task::StorageAccess;
use df_client::{DfdaemonClient, Transport, http_client};
use df_testkit::{Program, S3Server, free_port};

const BOUND: Duration = Duration::from_secs(60);

async fn start(dir: &Path, server: &S3Server, environment: &[(&str, &str)]) -> (Program, DfdaemonClient) {
    let base = format!("127.0.0.1:{}", free_port().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_dfdaemon"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.env("HOME", dir).envs(environment.iter().copied());
    command.env("DF_DFDAEMON__PROXY__LISTEN", &base);
    command.env("DF_DFDAEMON__UPLOAD__LISTEN", "127.0.0.1:0");
    command.env("DF_DFDAEMON__STORAGE__DIR", dir.join("storage"));
    command.env("DF_DFDAEMON__UPSTREAM__ALLOW", format!("[\"{}\"]", server.endpoint()));
    let mut program = Program::start("dfdaemon", &mut command, &dir.join("log")).unwrap();
    program.wait_for_url(&format!("http://{base}/healthz"), BOUND).await.unwrap();
    (program, DfdaemonClient::new(Transport::new(&format!("http://{base}"), http_client()).unwrap()))
}

async fn fetch(client: &DfdaemonClient, request: &CreateTaskRequest) -> Result<bytes::Bytes, String> {
    let id = client.create_task(request).await.map_err(|error| error.to_string())?.id;
    let answer = client.get_task_content(&id, None).await.map_err(|error| error.to_string())?;
    answer.bytes().await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn the_usual_variables_and_profile_files_are_used_for_the_store_that_they_mean() {
    let server = S3Server::start().await.unwrap();
    server.put("bucket", "key", b"found").unwrap();
    let (id, secret) = (S3Server::ACCESS_KEY_ID, S3Server::ACCESS_KEY_SECRET);
    let endpoint = server.endpoint();
    let variables = [
        ("AWS_ENDPOINT_URL_S3", endpoint.as_str()),
        ("AWS_REGION", "eu-north-1"),
        ("AWS_ACCESS_KEY_ID", id),
        ("AWS_SECRET_ACCESS_KEY", secret),
    ];
    for is_file in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        if is_file {
            std::fs::create_dir(dir.path().join(".aws")).unwrap();
            let profile = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
            std::fs::write(dir.path().join(".aws/credentials"), profile).unwrap();
        }
        let environment = if is_file { &variables[..2] } else { &variables[..] };
        let (mut daemon, client) = start(dir.path(), &server, environment).await;
        let request = CreateTaskRequest::new("s3://bucket/key");
        assert_eq!(fetch(&client, &request).await.unwrap(), "found", "file: {is_file}");
        // Another's store gets none of them.
        let storage = Some(StorageAccess { endpoint: Some(format!("{endpoint}/other")), ..StorageAccess::default() });
        let elsewhere = fetch(&client, &CreateTaskRequest { storage, ..request }).await.unwrap_err();
        assert!(elsewhere.contains("403") || elsewhere.contains("AccessDenied"), "{elsewhere}");
        daemon.kill();
        assert!(!std::fs::read_to_string(daemon.log()).unwrap().contains(secret));
    }
}
