//! From one scheduler to another: the new one does not know yet what it will be told.

use df_api::scheduler::Row;

use super::*;

#[test]
fn a_scheduler_that_has_just_started_sends_nobody_to_the_origin() {
    for seed in ["", "s1"] {
        let mut sim = Sim::with(&["a", "b"]);
        sim.state.policy.learning_ms = 2_000;
        if !seed.is_empty() {
            sim.announce(seed, |_| {});
        }
        assert_eq!((sim.ask("a"), sim.ask("b")), (Told::Wait, Told::Wait));
        assert_eq!(sim.ask_at_origin("b", 1), Told::Origin, "who is there already goes on");
        assert_eq!(sim.ask("a"), rows("", "b", ""));
    }
    let mut sim = Sim::with(&["a"]);
    sim.state.policy.learning_ms = 2_000;
    sim.ask("a");
    let view = |sim: &Sim| {
        let State { tasks, hosts, policy, .. } = &sim.state;
        select(View { now_ms: sim.now_ms, task: &tasks[&task()], hosts, policy }, &host("a"))
    };
    assert_eq!(view(&sim).recheck_ms, Some(2_000));
    sim.now_ms = 2_000;
    assert_eq!(sim.ask("a"), Told::Origin);
}

#[test]
fn whom_another_scheduler_told_where_to_read_waits_for_those_it_was_told_of() {
    let told = |report: &mut PeerReport| report.row = Some(Row { width: 4, place: None });
    let mut sim = Sim::with(&["s1", "a", "b"]);
    assert_eq!(sim.report("a", told), Told::Wait);
    assert_eq!(sim.duties("s1"), 0);
    assert_eq!(sim.ask_at_origin("b", 1), Told::Origin);
    assert_eq!(sim.report("a", told), rows("", "b", ""));

    let mut sim = Sim::with(&["a"]);
    assert_eq!(sim.report("a", told), Told::Wait);
    sim.now_ms += sim.state.policy.takeover_ms;
    assert_eq!(sim.report("a", told), Told::Origin, "nobody has come");
}
