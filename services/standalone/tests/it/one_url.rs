//! Schedulers behind one URL, with their state in PostgreSQL: daemons know an address, and not how many answer there.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::Request;
use df_testkit::{LoadBalancer, Postgres, until};
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::fleet::{Fleet, Line};
use crate::lab::PATIENCE;

const MIB: usize = 1024 * 1024;

async fn postgres() -> Option<Postgres> {
    let missing = Postgres::program_path().is_none() || LoadBalancer::program_path().is_none();
    if missing {
        df_testkit::skip("PostgreSQL or nginx is missing (infra/scripts/setup.sh test)");
        return None;
    }
    Some(Postgres::start().await.unwrap())
}

fn sharing(postgres: &Postgres) -> scheduler::Config {
    let mut config = scheduler::Config::default();
    config.database.url = Some(postgres.url());
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn any_of_three_answers_and_one_that_dies_is_not_missed() {
    let Some(postgres) = postgres().await else { return };
    let mut lines = Vec::new();
    for _ in 0..3 {
        lines.push(Line::start(sharing(&postgres)).await);
    }
    let addresses: Vec<_> = lines.iter().map(|line| line.line.address()).collect();
    let front = LoadBalancer::start(&addresses).await.unwrap();
    let mut fleet = Fleet::with_schedulers(lines, &[front.address()], [5, 1], &[24 * MIB, 8 * MIB]).await;
    let layer = fleet.layers[0].clone();
    fleet.change(&layer, |content| content.rate(8 * MIB as u64));
    let mut lines = std::mem::take(&mut fleet.schedulers);
    let death = async {
        let third = async || Ok((fleet.served_bytes(&layer) >= layer.size_bytes() / 3).then_some(()));
        until("a third has left the origin", PATIENCE, third).await.unwrap();
        lines[1].kill().await;
    };
    tokio::join!(join_all((1..5).map(|daemon| fleet.pull(daemon, &layer))), death);
    // And what comes after it.
    let other = fleet.layers[1].clone();
    join_all((1..5).map(|daemon| fleet.pull(daemon, &other))).await;
    assert!(fleet.times_sent(&fleet.layers) <= 1.0, "the origin sent it {} times", fleet.times_sent(&fleet.layers));
    assert_eq!((1..5).map(|daemon| fleet.origin_bytes(daemon, &layer)).sum::<u64>(), 0, "the seed went there");
    fleet.schedulers = lines;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_scheduler_for_every_request_is_as_good_as_one_that_stays() {
    let Some(postgres) = postgres().await else { return };
    let stop = CancellationToken::new();
    let front = serve_fresh(sharing(&postgres), stop.clone()).await;
    let fleet = Fleet::with_schedulers(Vec::new(), &[front], [5, 1], &[8 * MIB, 300_000]).await;
    for layer in &fleet.layers {
        join_all((1..5).map(|daemon| fleet.pull(daemon, layer))).await;
    }
    assert!(fleet.times_sent(&fleet.layers) <= 1.0, "the origin sent it {} times", fleet.times_sent(&fleet.layers));
    stop.cancel();
}

/// As a platform that starts an instance for each request, and takes it away after.
async fn serve_fresh(config: scheduler::Config, stop: CancellationToken) -> SocketAddr {
    let listener = df_http::serve::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = move |request: Request| {
        let app = scheduler::App::new(config.clone()).unwrap();
        async move { app.router().oneshot(request).await }
    };
    tokio::spawn(df_http::serve::serve(listener, Router::new().fallback(answer), stop));
    address
}
