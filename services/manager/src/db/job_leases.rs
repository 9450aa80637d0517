//! Which scheduler has which jobs of its cluster.
//! **Invariants.** A part is held by one process at a time, and each time that it changes hands has a number (`attempt`):
//! what a former holder says changes nothing. A lease that lasts longer than leases do is from another clock, and has run
//! out. The state of a job is written with that of its parts.

use std::collections::BTreeSet;

use df_api::manager::{JobArgs, JobAssignment, JobReport, JobState, JobType};
use sea_query::{Asterisk, Cond, Expr, ExprTrait as _, Func, Order, Query, SelectStatement};
use sqlx::FromRow;

use super::connection::{Connection, Tx};
use super::jobs::{Named, settle, state_text};
use super::{Db, DbError, JsonText, json};

/// Of one holder: with those that have ended, no more than it can report on in one call.
const HELD_MAX: u64 = 100;

/// Who asks, and until when it has what it gets.
#[derive(Clone, Copy)]
pub struct Holder<'a> {
    pub cluster_id: i64,
    pub name: &'a str,
    pub now: i64,
    pub lease_ms: i64,
}

#[derive(FromRow)]
struct HeldRow {
    id: i64,
    attempt: i64,
    job_id: i64,
    #[sqlx(try_from = "String")]
    kind: Named<JobType>,
    #[sqlx(try_from = "String")]
    args: JsonText<JobArgs>,
    secrets: String,
    ends_at_ms: i64,
}

/// What a seed peer may ask for.
#[derive(FromRow)]
pub struct Sealed {
    pub task_id: String,
    pub secrets: String,
}

// === impl Db ===

impl Db {
    /// What `holder` says of its jobs, and so many more for it. All that it has from now on.
    pub async fn sync_jobs(
        &self,
        holder: Holder<'_>,
        reports: &[JobReport],
        room: u64,
    ) -> Result<Vec<JobAssignment>, DbError> {
        if reports.is_empty() && !self.has_news(holder, reports, room).await? {
            return Ok(Vec::new());
        }
        let mut tx = self.begin().await?;
        let touched = hear(&mut tx, holder, reports).await?;
        let free = take(&mut tx, holder, room).await?;
        let concerned: Vec<i64> = touched.union(&free).copied().collect();
        if !concerned.is_empty() {
            settle(&mut tx, &concerned, holder.now).await?;
        }
        let held = held(&mut tx, holder).await?;
        tx.commit().await?;
        Ok(held)
    }

    /// Whether [`Self::sync_jobs`] would answer otherwise than what is named.
    pub async fn has_news(&self, holder: Holder<'_>, reports: &[JobReport], room: u64) -> Result<bool, DbError> {
        let mut on = self.reading().await?;
        let mut own = parts(holder);
        own.columns(["id", "attempt"]).and_where(is_held_by(holder)).order_by("id", Order::Asc);
        let own: Vec<(i64, i64)> = on.fetch_all(&own).await?;
        let open = reports.iter().filter(|report| !report.state.has_ended());
        let mut named: Vec<(i64, i64)> = open.map(|report| (report.id, report.attempt)).collect();
        named.sort_unstable();
        if own != named {
            return Ok(true);
        }
        if room == 0 {
            return Ok(false);
        }
        let mut free = parts(holder);
        free.column("id").cond_where(is_free(holder)).limit(1);
        let free: Option<(i64,)> = on.fetch_optional(&free).await?;
        Ok(free.is_some())
    }

    /// Of a part that is being done in this cluster.
    pub async fn secrets_of_part(&self, id: i64, cluster_id: i64) -> Result<Option<Sealed>, DbError> {
        let mut sealed = Query::select();
        sealed
            .columns([("jobs", "task_id"), ("jobs", "secrets")])
            .from("job_parts")
            .inner_join("jobs", Expr::col(("jobs", "id")).equals(("job_parts", "job_id")))
            .and_where(Expr::col(("job_parts", "id")).eq(id))
            .and_where(Expr::col(("job_parts", "cluster_id")).eq(cluster_id))
            .and_where(Expr::col(("job_parts", "state")).eq(state_text(JobState::Started)));
        self.fetch_optional(&sealed).await
    }
}

fn parts(holder: Holder<'_>) -> SelectStatement {
    Query::select().from("job_parts").and_where(Expr::col("cluster_id").eq(holder.cluster_id)).to_owned()
}

fn is_held_by(holder: Holder<'_>) -> Expr {
    Expr::col("state").eq(state_text(JobState::Started)).and(Expr::col("holder").eq(holder.name))
}

/// Nobody has begun it, or who has is silent.
fn is_free(holder: Holder<'_>) -> Cond {
    let until = || Expr::col("lease_until_ms");
    let over = until().lte(holder.now).or(until().gt(holder.now.saturating_add(2 * holder.lease_ms)));
    let lost = Expr::col("state").eq(state_text(JobState::Started)).and(Expr::col("holder").ne(holder.name)).and(over);
    Cond::any().add(Expr::col("state").eq(state_text(JobState::Pending))).add(lost)
}

/// The jobs whose parts have another state now.
async fn hear(tx: &mut Tx, holder: Holder<'_>, reports: &[JobReport]) -> Result<BTreeSet<i64>, DbError> {
    let mut own = parts(holder);
    own.columns(["id", "attempt", "job_id"]).and_where(is_held_by(holder));
    let own: Vec<(i64, i64, i64)> = tx.fetch_all(&own).await?;
    let mut touched = BTreeSet::new();
    for report in reports {
        let known = own.iter().find(|(id, attempt, _)| (*id, *attempt) == (report.id, report.attempt));
        let Some((id, _, job_id)) = known else { continue };
        let mut update = Query::update();
        update.table("job_parts").and_where(Expr::col("id").eq(*id));
        update.values([
            ("progress", json(&report.progress)?),
            ("lease_until_ms", holder.now.saturating_add(holder.lease_ms).into()),
            ("updated_at_ms", holder.now.into()),
        ]);
        if let Some(result) = &report.result {
            update.value("result", json(result)?);
        }
        if report.state.has_ended() {
            update.values([
                ("state", state_text(report.state).into()),
                ("error", report.error.as_str().into()),
                ("holder", "".into()),
            ]);
            touched.insert(*job_id);
        }
        tx.execute(&update).await?;
    }
    Ok(touched)
}

/// The jobs of which `holder` has got parts.
async fn take(tx: &mut Tx, holder: Holder<'_>, room: u64) -> Result<BTreeSet<i64>, DbError> {
    // Answers that got lost have given it some already.
    let mut held = parts(holder);
    held.expr(Func::count(Expr::col(Asterisk))).and_where(is_held_by(holder));
    let held = tx.count(&held).await?.unsigned_abs();
    let room = Ord::min(room, HELD_MAX.saturating_sub(held));
    if room == 0 {
        return Ok(BTreeSet::new());
    }
    let mut free = parts(holder);
    free.columns(["id", "job_id"]).cond_where(is_free(holder)).order_by("id", Order::Asc).limit(room);
    let free: Vec<(i64, i64)> = tx.fetch_all(&free).await?;
    if free.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut taken = Query::update();
    taken.table("job_parts").and_where(Expr::col("id").is_in(free.iter().map(|(id, _)| *id)));
    taken.values([
        ("state", state_text(JobState::Started).into()),
        ("holder", holder.name.into()),
        ("attempt", Expr::col("attempt").add(1)),
        ("lease_until_ms", holder.now.saturating_add(holder.lease_ms).into()),
        ("updated_at_ms", holder.now.into()),
    ]);
    tx.execute(&taken).await?;
    Ok(free.into_iter().map(|(_, job)| job).collect())
}

async fn held(on: &mut Connection, holder: Holder<'_>) -> Result<Vec<JobAssignment>, DbError> {
    let mut held = Query::select();
    held.columns([("job_parts", "id"), ("job_parts", "attempt"), ("job_parts", "job_id")])
        .columns([("jobs", "kind"), ("jobs", "args"), ("jobs", "secrets"), ("jobs", "ends_at_ms")])
        .from("job_parts")
        .inner_join("jobs", Expr::col(("jobs", "id")).equals(("job_parts", "job_id")))
        .and_where(Expr::col(("job_parts", "cluster_id")).eq(holder.cluster_id))
        .and_where(Expr::col(("job_parts", "state")).eq(state_text(JobState::Started)))
        .and_where(Expr::col(("job_parts", "holder")).eq(holder.name))
        .order_by(("job_parts", "id"), Order::Asc);
    let rows: Vec<HeldRow> = on.fetch_all(&held).await?;
    Ok(rows.into_iter().map(|row| row.into_assignment(holder.now)).collect())
}

// === impl HeldRow ===

impl HeldRow {
    fn into_assignment(self, now: i64) -> JobAssignment {
        JobAssignment {
            id: self.id,
            attempt: self.attempt,
            job_id: self.job_id,
            kind: self.kind.0,
            args: self.args.0,
            has_secrets: !self.secrets.is_empty(),
            left_ms: u64::try_from(self.ends_at_ms - now).unwrap_or(0),
        }
    }
}
