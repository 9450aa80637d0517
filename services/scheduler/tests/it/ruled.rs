//! The cluster's settings, from the scheduler's own file and from a manager; and what people are told of a decision.

use std::time::Duration;

use df_api::Code;
use df_api::rules::{BlockList, Blocked, TaskBlockList, Weights};
use df_api::scheduler::{Decision, Filter, ParentRole};
use scheduler::Config;

use crate::fake_manager::{FakeManager, JOIN_TOKEN};
use crate::{Running, SOON, holding, host, peer, peer_report, task};

fn blocking(pattern: &str) -> BlockList {
    let download = Blocked { urls: vec![pattern.to_owned()], ..Blocked::default() };
    BlockList { task: TaskBlockList { download, ..TaskBlockList::default() } }
}

#[tokio::test]
async fn without_a_manager_the_rules_of_its_own_file_hold() {
    let scheduler = Running::start(|config| config.cluster.peer.block_list = blocking("^http://origin[.]")).await;
    scheduler.announce("a").await;
    let asked = scheduler.client.report_peer(&task(), &peer("a"), &peer_report("a"), Duration::ZERO).await;
    let error = asked.unwrap_err();
    let problem = error.problem().unwrap();
    assert_eq!((problem.status, problem.code), (403, Code::Blocked));
    assert!(problem.detail.contains(r#"peer_cluster_config.block_list.task.download.urls has "^http://origin[.]""#));
    assert_eq!(scheduler.client.get_task(&task()).await.unwrap_err().status(), Some(404), "nothing is kept of it");
}

#[tokio::test]
async fn a_manager_brings_rules_and_every_host_is_told_to_ask_first() {
    let manager = FakeManager::start().await;
    manager.peer_config.lock().block_list = blocking("^http://origin[.]");
    let scheduler = Running::start(|config| {
        config.manager.addr = Some(manager.url.clone());
        config.manager.scheduler_cluster_id = 2;
        config.manager.join_token = Some(JOIN_TOKEN.to_owned());
        config.join = scheduler::config::Join::Open;
    })
    .await;
    let told = async {
        while !scheduler.client.report_host(&host("a"), &holding("a"), Duration::ZERO).await.unwrap().ask_first {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, told).await.expect("the rules arrive");
    let asked = scheduler.client.report_peer(&task(), &peer("b"), &peer_report("b"), Duration::ZERO).await;
    assert_eq!(asked.unwrap_err().problem().map(|problem| problem.code), Some(Code::Blocked));
}

#[test]
fn settings_that_cannot_be_are_named() {
    let said = |change: fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        scheduler::App::new(config).err().unwrap().to_string()
    };
    assert!(said(|config| config.cluster.peer.block_list = blocking("[")).contains("block_list.task.download.urls"));
    let nothing = |config: &mut Config| {
        config.cluster.weights = Weights { load: 0.0, idc: 0.0, location: 0.0, host_type: 0.0 };
    };
    assert!(said(nothing).starts_with("cluster.weights"), "{}", said(nothing));
}

#[tokio::test]
async fn a_task_explains_who_is_a_parent_and_who_is_not() {
    let scheduler = Running::start(|config| config.cluster.candidate_parent_limit = 1).await;
    for name in ["seed", "b"] {
        scheduler.client.report_host(&host(name), &holding(name), Duration::ZERO).await.unwrap();
    }
    scheduler.announce("a").await;
    assert_eq!(scheduler.ask("a").await.decision, Decision::Parents);
    let view = scheduler.client.get_task(&task()).await.unwrap();
    let why = view.peers.iter().find_map(|peer| peer.why.as_ref()).unwrap();
    assert_eq!((why.parents[0].peer_id.as_str(), why.parents[0].role), ("b", ParentRole::Above));
    assert!(why.parents[0].score > why.parents[1].score && why.parents[1].peer_id.as_str() == "seed");
    assert_eq!((why.decision, why.passed_over.len(), view.lease), (Decision::Parents, 0, None));

    // A cold one: the seed is sent, and nobody else has anything.
    let other = "cd".repeat(32).parse().unwrap();
    scheduler.client.report_peer(&other, &peer("a"), &peer_report("a"), Duration::ZERO).await.unwrap();
    scheduler.client.report_peer(&other, &peer("b"), &peer_report("b"), Duration::ZERO).await.unwrap();
    let view = scheduler.client.get_task(&other).await.unwrap();
    assert!(view.lease.is_some_and(|lease| lease.holder.as_str() == "seed" && lease.duty_pending));
    let below: Vec<_> = view.peers[0].why.as_ref().unwrap().passed_over.iter().map(|it| it.filter).collect();
    assert!(!below.contains(&Filter::Itself));
    assert_eq!(view.peers[0].why.as_ref().unwrap().parents[0].terms.host_type, 1.0, "a seed that is getting it");
}
