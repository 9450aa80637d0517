//! Other origins of a content whose digest tells that it is the same: those who join its download name them.
//!
//! **Invariant.** Nobody's origin is the only one that is asked: one that fails or creeps is left for the next, and comes
//! round again. The number of changes is bounded, so that a download ends.

use std::collections::VecDeque;

use df_api::task::TaskSpec;

const OTHERS_MAX: usize = 3;
const CHANGES_MAX: u32 = 8;

#[derive(Debug, Default)]
pub(crate) struct Others {
    waiting: VecDeque<TaskSpec>,
    changes: u32,
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

    pub fn has_next(&self) -> bool {
        self.changes < CHANGES_MAX && !self.waiting.is_empty()
    }

    /// Which to ask instead of `current`.
    pub fn next(&mut self, current: &TaskSpec) -> Option<TaskSpec> {
        if !self.has_next() {
            return None;
        }
        self.changes += 1;
        let next = self.waiting.pop_front();
        self.waiting.push_back(current.clone());
        next
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

    #[test]
    fn all_have_their_turns_and_it_ends() {
        let mut others = Others::default();
        let mut current = spec("https://a.example/x");
        for url in ["https://b.example/x", "https://a.example/x", "https://b.example/x", "https://c.example/x"] {
            others.add(spec(url), &current);
        }
        let mut asked = Vec::new();
        while let Some(next) = others.next(&current) {
            current = next;
            asked.push(current.origin.url.chars().nth(8).unwrap());
        }
        assert_eq!(asked, ['b', 'c', 'a', 'b', 'c', 'a', 'b', 'c']);
    }

    #[test]
    fn only_what_a_digest_tells_to_be_the_same_has_others_and_not_without_end() {
        let current = spec("https://a.example/x");
        let mut others = Others::default();
        others.add(TaskSpec::new(Origin::new("https://b.example/x"), None), &current);
        others.add(
            TaskSpec { origin: Origin { peers_only: true, ..spec("https://b.example/x").origin }, ..current.clone() },
            &current,
        );
        assert!(!others.has_next());
        for number in 0..10 {
            others.add(spec(&format!("https://{number}.example/x")), &current);
        }
        assert_eq!(others.waiting.len(), OTHERS_MAX);
    }
}
