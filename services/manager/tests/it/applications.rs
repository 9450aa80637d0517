//! Applications: what the console does with them, and that schedulers get them.

use df_api::manager::{CreateApplicationRequest, UpdateApplicationRequest};
use df_api::rules::{ApplicationPriority, Priority, UrlPriority};
use df_testkit::TestDatabase;

use crate::running::{Running, on_every_database, refusal, scheduler};

on_every_database! {
    an_application_is_added_changed_deleted_and_brought_to_schedulers,
    what_cannot_be_is_named,
}

fn named(name: &str, regex: &str) -> CreateApplicationRequest {
    let urls = vec![UrlPriority { regex: regex.to_owned(), value: Priority::FORBIDDEN }];
    let priority = ApplicationPriority { value: Priority::CACHED_ONLY, urls };
    CreateApplicationRequest { name: name.to_owned(), priority, ..CreateApplicationRequest::default() }
}

async fn an_application_is_added_changed_deleted_and_brought_to_schedulers(database: TestDatabase) {
    let manager = Running::start(database).await;
    let (root, component) = (manager.root().await, manager.component().await);
    let new = named("models", "^https://huge[.]");
    let made = root.create_application(&new).await.unwrap();
    assert_eq!((made.name.as_str(), &made.priority), ("models", &new.priority));
    assert_eq!(root.list_applications().await.unwrap(), std::slice::from_ref(&made));
    let lease = component.renew_scheduler_lease(&scheduler("s1", 1)).await.unwrap();
    assert_eq!((lease.applications[0].name.as_str(), &lease.applications[0].priority), ("models", &new.priority));

    let change = UpdateApplicationRequest { bio: Some("of the lab".into()), ..UpdateApplicationRequest::default() };
    let changed = root.update_application(made.id, &change).await.unwrap();
    assert_eq!((changed.bio.as_str(), &changed.priority), ("of the lab", &new.priority));
    assert_eq!(root.get_application(made.id).await.unwrap(), changed);
    assert_eq!(refusal(root.create_application(&new).await).0, 409, "names are unique");

    root.delete_application(made.id).await.unwrap();
    assert_eq!(refusal(root.get_application(made.id).await), (404, format!("there is no application {}", made.id)));
    assert_eq!(refusal(root.delete_application(made.id).await).0, 404);
    assert!(component.renew_scheduler_lease(&scheduler("s1", 1)).await.unwrap().applications.is_empty());
}

async fn what_cannot_be_is_named(database: TestDatabase) {
    let manager = Running::start(database).await;
    let root = manager.root().await;
    let (status, detail) = refusal(root.create_application(&named("models", "(")).await);
    assert!(status == 422 && detail.contains("priority.urls \"(\""), "{detail}");
    assert!(refusal(root.create_application(&named(" ", "x")).await).1.contains("name"));
    let made = root.create_application(&named("models", "x")).await.unwrap();
    let long = UpdateApplicationRequest { bio: Some("x".repeat(401)), ..UpdateApplicationRequest::default() };
    assert!(refusal(root.update_application(made.id, &long).await).1.contains("bio"));
    assert_eq!(root.get_application(made.id).await.unwrap(), made);
}
