//! Other origins of a content whose digest tells that it is the same: those who join its download name them.
//!
//! **Invariant.** Nobody's origin is the only one that is asked: one that says no is left for the next, one that creeps
//! comes round again when the next does no better. The number of changes is bounded.

use std::collections::VecDeque;

use df_api::task::TaskSpec;

const OTHERS_MAX: usize = 8;
/// With each, what has come of a piece is lost.
const LEFT_CREEPING_MAX: u32 = 4;

#[derive(Debug, Default)]
pub(crate) struct Others {
    waiting: VecDeque<TaskSpec>,
    left_creeping: u32,
}

/// Why an origin is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// It does not answer, or next to nothing comes: the next may do no better.
    Creeping,
    Refusing,
}

// === impl Others ===

impl Others {
    /// `current` is what is asked now.
    pub fn add(&mut self, spec: TaskSpec, current: &TaskSpec) {
        let place = |spec: &TaskSpec| spec.origin.content_url();
        if spec.digest.is_none() || !spec.origin.may_be_asked() || place(&spec) == place(current) {
            return;
        }
        self.waiting.retain(|known| place(known) != place(&spec));
        if self.waiting.len() < OTHERS_MAX {
            self.waiting.push_back(spec);
        }
    }

    /// Whether there is one to ask instead.
    pub fn has_next(&self, left: Left) -> bool {
        !self.waiting.is_empty() && (left == Left::Refusing || self.left_creeping < LEFT_CREEPING_MAX)
    }

    /// Which to ask instead of `current`.
    pub fn next(&mut self, current: &TaskSpec, left: Left) -> Option<TaskSpec> {
        let next = self.has_next(left).then(|| self.waiting.pop_front()).flatten()?;
        if left == Left::Creeping {
            self.left_creeping += 1;
            self.waiting.push_back(current.clone());
        }
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use df_api::Digest;
    use df_api::task::Origin;

    use super::*;

    fn spec(url: &str) -> TaskSpec {
        let digest = format!("sha256:{}", "ab".repeat(32)).parse::<Digest>().ok();
        TaskSpec::new(Origin::new(url), digest)
    }

    fn asked(others: &mut Others, current: &mut TaskSpec, left: Left) -> String {
        let mut asked = String::new();
        while let Some(next) = others.next(current, left) {
            *current = next;
            asked.extend(current.origin.url.chars().nth(8));
        }
        asked
    }

    #[test]
    fn who_creeps_comes_round_again_and_who_refuses_does_not() {
        let mut others = Others::default();
        let mut current = spec("https://a.example/x");
        for url in ["https://b.example/x", "https://a.example/x", "https://b.example/x", "https://c.example/x"] {
            others.add(spec(url), &current);
        }
        assert_eq!(asked(&mut others, &mut current, Left::Creeping), "bcab");
        assert_eq!(asked(&mut others, &mut current, Left::Refusing), "ca");
    }

    #[test]
    fn only_what_a_digest_tells_to_be_the_same_has_others_and_not_without_end() {
        let current = spec("https://a.example/x");
        let mut others = Others::default();
        others.add(TaskSpec::new(Origin::new("https://b.example/x"), None), &current);
        let peers_only = Origin { peers_only: true, ..Origin::new("https://b.example/x") };
        others.add(TaskSpec { origin: peers_only, ..current.clone() }, &current);
        assert!(!others.has_next(Left::Refusing));
        for number in 0..20 {
            others.add(spec(&format!("https://{number}.example/x")), &current);
        }
        assert_eq!(others.waiting.len(), OTHERS_MAX);
    }
}
