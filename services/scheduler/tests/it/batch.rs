//! Many tasks of one host in one request.

use std::time::Duration;

use df_api::TaskId;
use df_api::scheduler::{Decision, PeerAnswer, PeerReport, PeerReports, REPORTS_MAX, TaskReport};

use crate::{Running, host, peer_report, seq, task};

fn tasks(count: usize) -> Vec<TaskId> {
    (0..count).map(|at| format!("{at:064x}").parse().unwrap()).collect()
}

fn of(task: &TaskId, report: PeerReport) -> TaskReport {
    TaskReport { task_id: task.clone(), report: PeerReport { seq: seq(), ..report } }
}

#[tokio::test]
async fn a_thousand_tasks_of_a_host_are_one_request_and_alike_answers_are_short() {
    let scheduler = Running::start(|_| {}).await;
    scheduler.announce("seed").await;
    scheduler.announce("a").await;
    let tasks = tasks(REPORTS_MAX);
    let all = |known: Vec<Option<u64>>| {
        let reports = tasks.iter().zip(known).map(|(task, known)| of(task, PeerReport { known, ..peer_report("a") }));
        PeerReports { reports: reports.collect() }
    };
    let first = scheduler.client.report_peers(&host("a"), &all(vec![None; REPORTS_MAX])).await.unwrap();
    let version = |answer: &PeerAnswer| match answer {
        PeerAnswer::Decision(told) if told.decision == Decision::Parents => Some(told.version),
        other => panic!("{other:?}"),
    };
    let versions: Vec<_> = first.answers.iter().map(version).collect();
    assert_eq!(versions.len(), REPORTS_MAX);
    let second = scheduler.client.report_peers(&host("a"), &all(versions)).await.unwrap();
    let unchanged =
        |answer: &&PeerAnswer| matches!(answer, PeerAnswer::Decision(told) if told.decision == Decision::Unchanged);
    assert_eq!(second.answers.iter().filter(unchanged).count(), REPORTS_MAX);
    // As one of them alone.
    let view = scheduler.client.get_task(&tasks[7]).await.unwrap();
    assert_eq!(view.peers.iter().map(|peer| peer.host_id.as_str()).collect::<Vec<_>>(), ["a"]);
}

#[tokio::test]
async fn a_report_that_is_refused_keeps_no_other_from_being_taken() {
    let scheduler = Running::start(|_| {}).await;
    scheduler.announce("a").await;
    let mut foreign = peer_report("b");
    foreign.origin.url = "http://origin.example/other".to_owned();
    let tasks = tasks(3);
    let reports = vec![of(&tasks[0], peer_report("a")), of(&tasks[1], foreign), of(&tasks[2], peer_report("a"))];
    let answers = scheduler.client.report_peers(&host("a"), &PeerReports { reports }).await.unwrap().answers;
    assert!(matches!(&answers[0], PeerAnswer::Decision(told) if told.decision == Decision::Origin), "{answers:?}");
    assert!(matches!(&answers[1], PeerAnswer::Refused(why) if why.status == 422 && why.detail.contains("host_id b")));
    assert!(matches!(&answers[2], PeerAnswer::Decision(told) if told.decision == Decision::Origin), "{answers:?}");

    let too_many = PeerReports { reports: vec![of(&task(), peer_report("a")); REPORTS_MAX + 1] };
    let refused = scheduler.client.report_peers(&host("a"), &too_many).await.unwrap_err();
    assert_eq!(refused.status(), Some(422));
    assert_eq!(
        scheduler.client.report_peers(&host("a"), &PeerReports { reports: Vec::new() }).await.unwrap().answers,
        []
    );
    // Answered at once: nothing is held.
    let waits = PeerReports { reports: vec![of(&tasks[0], peer_report("a"))] };
    tokio::time::timeout(Duration::from_secs(5), scheduler.client.report_peers(&host("a"), &waits))
        .await
        .unwrap()
        .unwrap();
}
