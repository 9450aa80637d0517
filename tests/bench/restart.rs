//! How long a dfdaemon with many tasks on disk takes from its start until `/readyz` says so. The files have just been
//! written: directory entries and records are in the page cache.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use df_api::task::{Origin, TaskSpec};
use df_store::{Meta, Policy, Store};

use crate::goal::Goal;
use crate::ground::Ground;
use crate::options::Options;
use crate::row::{Part, Row, Unit};

const TASK_BYTES: u64 = 1024;

pub(crate) async fn rows(options: &Options) -> anyhow::Result<Vec<Row>> {
    let ground = Ground::prepare(options, 1, 512).await?;
    let nowhere = SocketAddr::new(ground.ctl().address.into(), 9);
    let setting = ground.setting(nowhere, ground.network.nodes())?;
    let mut parts = [format!("{} tasks", options.tasks), "none".to_owned()].map(|name| Part::new(name, Unit::Seconds));
    for run in 0..options.runs_with_warm_up() {
        for turn in [run % 2, (run + 1) % 2] {
            if turn == 0 {
                make_tasks(&setting.store_of(0), options.tasks).await?;
            }
            let began = Instant::now();
            let dfdaemon = setting.start_alone().await?;
            if !options.is_warm_up(run) {
                parts[turn].values.push(began.elapsed().as_secs_f64());
            }
            drop(dfdaemon);
            std::fs::remove_dir_all(setting.store_of(0))?;
        }
    }
    let [many, none] = parts;
    let name = format!("start with {} tasks on disk, until ready", options.tasks);
    Ok(vec![Row::new(name, Unit::Seconds, Goal::at_most(1.0, 0.5), many.values).with([none])])
}

async fn make_tasks(dir: &Path, count: usize) -> anyhow::Result<()> {
    let store = Store::open(dir, Policy::default())?;
    for number in 0..count {
        let id = TaskSpec::new(Origin::new(format!("http://origin.test/{number}")), None).id;
        let task = store.get_or_create(&id)?;
        let piece_length = df_api::task::piece_length(Some(TASK_BYTES));
        task.describe(Meta {
            length: Some(TASK_BYTES),
            piece_length,
            content_type: None,
            digest: None,
            validator: None,
        })??;
        let Some(mut writer) = task.begin_piece(0) else { continue };
        writer.write(&vec![b'x'; TASK_BYTES as usize])?;
        writer.finish(None)?;
        task.mark_complete()?;
    }
    Ok(())
}
