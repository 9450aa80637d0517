//! A part of a content, asked for by a program: nothing else is fetched, unless it is asked for, too.

use std::time::Duration;

use bytes::Bytes;
use df_api::dfdaemon::{CreateTaskRequest, TaskState};
use df_api::{ByteRange, TaskId};
use df_testkit::registry::RegistryAccess;
use df_testkit::{Content, random_bytes, until};

use crate::node::Node;

/// Cut in pieces of 4 MiB.
const LENGTH: usize = 80_000_000;
const PIECE: u64 = 4 << 20;

async fn node(change: impl FnOnce(Content) -> Content) -> (Node, Bytes) {
    let node = Node::start(RegistryAccess::Open).await;
    let body = random_bytes(1, LENGTH);
    node.registry.origin().put("file", change(Content::new(body.clone())));
    (node, body)
}

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange { start, end }
}

async fn create(node: &Node, range: ByteRange, prefetch: bool) -> TaskId {
    let url = node.registry.origin().url("file");
    let request = CreateTaskRequest { range: Some(range), prefetch, ..CreateTaskRequest::new(url) };
    node.client().create_task(&request).await.unwrap().id
}

async fn part(node: &Node, part: ByteRange) -> Bytes {
    let id = create(node, part, false).await;
    node.client().get_task_content(&id, Some(part)).await.unwrap().bytes().await.unwrap()
}

async fn wait_for(node: &Node, id: &TaskId, state: TaskState) {
    let is = async || Ok((node.client().get_task(id).await?.state == state).then_some(()));
    until(&format!("it is {state:?}"), Duration::from_secs(60), is).await.unwrap();
}

#[tokio::test]
async fn a_part_is_all_that_is_fetched_and_stays() {
    let (node, body) = node(|content| content).await;
    for (asked, pieces) in [(range(30_000_000, 30_001_000), 1), (range(0, 10), 2), (range(79_999_000, u64::MAX), 3)] {
        let end = asked.end.min(LENGTH as u64) as usize;
        assert!(part(&node, asked).await == body.slice(asked.start as usize..end), "{asked:?}");
        let id = create(&node, asked, false).await;
        wait_for(&node, &id, TaskState::Idle).await;
        let held = node.client().get_task(&id).await.unwrap().held_bytes;
        assert!(held > (pieces - 1) * PIECE / 2 && held <= pieces * PIECE, "{held} bytes of {pieces} pieces");
    }
    // A byte to learn how it is cut.
    let sent = node.registry.origin().stats("file").bytes;
    assert!(sent <= 3 * PIECE + 1, "{sent}");
    let beyond = create(&node, range(90_000_000, 90_000_001), false).await;
    let refused = node.client().get_task_content(&beyond, Some(range(90_000_000, 90_000_001))).await;
    assert_eq!(refused.unwrap_err().status(), Some(416));
}

#[tokio::test]
async fn several_parts_at_once_and_then_the_whole_are_one_download() {
    let (node, body) = node(|content| content.hold_between(41_000_000..42_000_000)).await;
    let (one, other) = (range(40_000_000, 42_000_000), range(10_000_000, 10_000_500));
    let id = create(&node, one, false).await;
    assert!(part(&node, other).await == body.slice(10_000_000..10_000_500), "while another part stands still");
    assert_eq!(node.client().get_task(&id).await.unwrap().state, TaskState::Running);
    let url = node.registry.origin().url("file");
    assert_eq!(node.client().create_task(&CreateTaskRequest::new(url)).await.unwrap().id, id);
    node.registry.origin().release("file");
    assert!(node.client().get_task_content(&id, None).await.unwrap().bytes().await.unwrap() == body);
    let sent = node.registry.origin().stats("file").bytes;
    assert!(sent < LENGTH as u64 * 5 / 4, "{sent}: what was there is not fetched again");
}

#[tokio::test]
async fn an_origin_without_ranges_or_length_is_read_no_further_than_wanted() {
    for change in [Content::without_ranges, |content: Content| content.without_ranges().without_length()] {
        let (node, body) = node(|content| change(content).hold_at(30_000_000)).await;
        assert!(part(&node, range(20_000_000, 20_001_000)).await == body.slice(20_000_000..20_001_000));
        let id = create(&node, range(20_000_000, 20_001_000), false).await;
        wait_for(&node, &id, TaskState::Idle).await;
        assert_eq!(node.registry.origin().stats("file").active, 0, "nobody is asked on");
        node.registry.origin().release("file");
    }
}

#[tokio::test]
async fn a_prefetch_brings_the_rest_when_nobody_reads_it() {
    let (node, body) = node(|content| content).await;
    let asked = range(70_000_000, 70_000_100);
    let id = create(&node, asked, true).await;
    let read = node.client().get_task_content(&id, Some(asked)).await.unwrap().bytes().await.unwrap();
    assert!(read == body.slice(70_000_000..70_000_100));
    wait_for(&node, &id, TaskState::Complete).await;
}

#[tokio::test]
async fn a_part_of_what_a_digest_names_is_refused() {
    let (node, _) = node(|content| content).await;
    let digest = Some(format!("sha256:{}", "ab".repeat(32)).parse().unwrap());
    let url = node.registry.origin().url("file");
    let asked = CreateTaskRequest { digest, range: Some(range(0, 10)), ..CreateTaskRequest::new(url) };
    let refused = node.client().create_task(&asked).await.unwrap_err();
    assert!(refused.status() == Some(422) && refused.to_string().contains("range"), "{refused}");
}
