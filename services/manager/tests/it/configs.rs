//! Named values.

use df_api::manager::{CreateConfigRequest, UpdateConfigRequest};
use df_testkit::TestDatabase;

use crate::running::{Running, on_every_database, refusal};

on_every_database! {
    a_config_is_named_once_and_belongs_to_somebody,
    the_managers_own_stays_readable,
}

fn named(name: &str, value: &str) -> CreateConfigRequest {
    CreateConfigRequest { name: name.to_owned(), value: value.to_owned(), ..CreateConfigRequest::default() }
}

async fn a_config_is_named_once_and_belongs_to_somebody(database: TestDatabase) {
    let manager = Running::start(database).await;
    let root = manager.root().await;
    let made = root.create_config(&named("motto", "faster")).await.unwrap();
    assert_eq!((made.user_id, root.get_config(made.id).await.unwrap()), (1, made.clone()));
    assert_eq!(refusal(root.create_config(&named("motto", "slower")).await).0, 409);
    let mut strange = named("other", "x");
    strange.user_id = Some(77);
    assert_eq!(refusal(root.create_config(&strange).await), (404, "there is no user 77".to_owned()));
    let (status, detail) = refusal(root.create_config(&named("long", &"x".repeat(1025))).await);
    assert!(status == 422 && detail.contains("value") && detail.contains("1024"), "{detail}");
    let change = UpdateConfigRequest { bio: Some("ours".into()), ..UpdateConfigRequest::default() };
    let changed = root.update_config(made.id, &change).await.unwrap();
    assert_eq!((changed.value.as_str(), changed.bio.as_str()), ("faster", "ours"));
    root.delete_config(made.id).await.unwrap();
    assert_eq!(refusal(root.get_config(made.id).await).0, 404);
}

async fn the_managers_own_stays_readable(database: TestDatabase) {
    let manager = Running::start(database).await;
    let root = manager.root().await;
    let own = root.list_configs().await.unwrap().into_iter().find(|config| config.name == "gc").unwrap();
    let change = |value: &str| UpdateConfigRequest { value: Some(value.to_owned()), ..UpdateConfigRequest::default() };
    let (status, detail) = refusal(root.update_config(own.id, &change("7 days")).await);
    assert!(status == 422 && detail.contains("NANOSECONDS"), "{detail}");
    let (status, detail) = refusal(root.update_config(own.id, &change(r#"{"audit":{"ttl":1},"job":{"ttl":1}}"#)).await);
    assert!(status == 422 && detail.contains("at least a day"), "{detail}");
    root.update_config(own.id, &change(r#"{"audit":{"ttl":86400000000000},"job":{"ttl":1}}"#)).await.unwrap();
    let rename = UpdateConfigRequest { name: Some("garbage".into()), ..UpdateConfigRequest::default() };
    assert_eq!(refusal(root.update_config(own.id, &rename).await).0, 409);
    assert_eq!(refusal(root.delete_config(own.id).await).0, 409);
}
