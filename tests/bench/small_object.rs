//! 1 KiB that nobody of the cluster holds: a client of the node asks, the seed peer fetches from an origin beside it.
//! Through the mirror as containerd asks (one request), and by URL as dfget asks (two requests).

use std::net::SocketAddr;
use std::time::Instant;

use tests::cluster::Cluster;

use crate::client::Connection;
use crate::goal::{Goal, percentile, sorted};
use crate::ground::Ground;
use crate::made::Blob;
use crate::nginx::Nginx;
use crate::node::{Content, local, mirror_target};
use crate::options::Options;
use crate::row::{Part, Row, Unit};

const BYTES: u64 = 1024;
const WAYS: [&str; 3] = ["through the mirror", "by URL", "straight to the origin"];
const PARTS: [(&str, f64, Goal); 2] =
    [("p50", 0.5, Goal::at_most(10.0, 5.0)), ("p99", 0.99, Goal::at_most(40.0, 20.0))];

pub(crate) async fn rows(options: &Options) -> anyhow::Result<Vec<Row>> {
    let ground = Ground::prepare(options, 1, 512).await?;
    let root = ground.folder().join("files");
    let origin = Nginx::start(ground.folder(), &root, ground.ctl()).await?;
    let mut setting = ground.setting(origin.address, ground.network.nodes())?;
    setting.seed = Some(ground.ctl().clone());
    let _cluster = Cluster::start(setting).await?;
    let mut figures = WAYS.map(|way| PARTS.map(|(part, ..)| Part::new(format!("{way}, {part}"), Unit::Milliseconds)));
    for run in 0..options.runs_with_warm_up() {
        for turn in 0..WAYS.len() {
            let way = (run + turn) % WAYS.len();
            let first = ((run * WAYS.len() + way) * options.objects) as u64;
            let blobs =
                (0..options.objects as u64).map(|number| Blob::random(&root, 1_000_000 + first + number, BYTES));
            let blobs = blobs.collect::<anyhow::Result<Vec<_>>>()?;
            let address = origin.address;
            let taken = ground.node(0).inside(move || fetch_all(way, &blobs, address)).await?;
            if !options.is_warm_up(run) {
                let taken = sorted(&taken);
                for (figure, (_, part, _)) in figures[way].iter_mut().zip(PARTS) {
                    figure.values.extend(percentile(&taken, part));
                }
            }
        }
    }
    let [mirror, url, origin] = figures;
    let rows = [(WAYS[0], mirror), (WAYS[1], url)].into_iter().flat_map(|(way, figures)| {
        let origin = origin.clone();
        figures.into_iter().zip(PARTS).zip(origin).map(move |((figure, (part, _, goal)), origin)| {
            Row::new(format!("1 KiB, cold, {way}: {part}"), Unit::Milliseconds, goal, figure.values).with([origin])
        })
    });
    Ok(rows.collect())
}

/// Milliseconds until the whole object is there, one after the other.
fn fetch_all(way: usize, blobs: &[Blob], origin: SocketAddr) -> anyhow::Result<Vec<f64>> {
    let mut connection = Connection::open(if way == 2 { origin } else { local() })?;
    let one = |blob: &Blob| {
        let began = Instant::now();
        match way {
            0 => connection.get(&mirror_target(blob, origin), "")?,
            1 => {
                let url = format!("http://{origin}{}", blob.target());
                let id = Content { blob: blob.clone(), url, digest: None }.start(&mut connection)?;
                connection.get(&format!("/v1/tasks/{id}/content"), "")?
            }
            _ => connection.get(&blob.target(), "")?,
        };
        Ok(began.elapsed().as_secs_f64() * 1e3)
    };
    blobs.iter().map(one).collect()
}
