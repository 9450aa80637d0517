//! Having nothing of some tasks any more, those of registries, too.

use df_api::TaskId;
use df_api::scheduler::{DutyOutcome, DutyTask};
use futures_util::{StreamExt as _, stream};

use super::Jobs;
use super::report::Progress;

/// Schedulers are told of each.
const AT_ONCE: usize = 8;

// === impl Jobs ===

impl Jobs {
    pub(super) async fn remove(&self, tasks: &[TaskId], progress: &Progress) {
        let removing = stream::iter(tasks.iter().enumerate()).for_each_concurrent(AT_ONCE, async |(index, id)| {
            let removed = match self.peer.task(id) {
                Some(task) => self.peer.remove_task(&task).await,
                None => Ok(()),
            };
            match removed {
                Ok(()) => {
                    let gone =
                        DutyTask { outcome: DutyOutcome::Done, length: None, held_bytes: 0, error: String::new() };
                    progress.set(index, gone);
                }
                Err(error) => progress.set_failed(index, &error),
            }
        });
        removing.await;
        progress.conclude(|index| format!("task {}", tasks[index]));
    }
}
