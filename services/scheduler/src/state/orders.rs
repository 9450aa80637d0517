//! What jobs have ordered of hosts, and what these say of it.
//!
//! **Invariant.** An order goes with its host, and with its job: nobody reports on what nobody wants to know.

use std::collections::BTreeMap;

use df_api::HostId;
use df_api::scheduler::{Duty, DutyReport, DutyState, Work};
use serde::{Deserialize, Serialize};

use super::{Ring, State};
use crate::policy::DUTIES_MAX;

/// A duty of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// The manager's number of the job in this cluster.
    pub job: i64,
    pub host: HostId,
    /// As last reported.
    pub report: Option<DutyReport>,
    /// When it was last reported on, or else given.
    pub heard_ms: u64,
}

/// By the number of the duty.
pub type Orders = BTreeMap<u64, Order>;

/// Of all jobs together.
const ORDERS_MAX: usize = 50_000;

// === impl State ===

impl State {
    /// The number of the duty. `None` when the host is not there, or has enough to do.
    pub fn order(&mut self, now_ms: u64, host: &HostId, job: i64, work: Work) -> Option<u64> {
        let announced = self.hosts.announced.get_mut(host).filter(|host| host.duties.len() < DUTIES_MAX)?;
        if self.orders.len() >= ORDERS_MAX {
            return None;
        }
        let id = self.next_duty;
        self.next_duty += 1;
        announced.duties.push(Duty { id, work });
        let order = Order { job, host: host.clone(), report: None, heard_ms: now_ms };
        self.orders.insert(id, order);
        self.rings.push(Ring::Host(host.clone()));
        Some(id)
    }

    /// Whether somebody wants to know. What has ended stays as it is.
    pub fn report_duty(&mut self, now_ms: u64, host: &HostId, id: u64, report: DutyReport) -> bool {
        let Some(order) = self.orders.get_mut(&id).filter(|order| order.host == *host) else { return false };
        order.heard_ms = now_ms;
        let ended = order.report.as_ref().is_some_and(|report| report.state != DutyState::Running);
        if !ended && order.report.as_ref() != Some(&report) {
            order.report = Some(report);
            self.rings.push(Ring::Orders);
        }
        true
    }

    /// Of a job that has ended, or begins anew.
    pub fn end_orders(&mut self, job: i64) {
        let ended: Vec<u64> = self.orders.iter().filter(|(_, order)| order.job == job).map(|(id, _)| *id).collect();
        for id in ended {
            self.end_order(id);
        }
    }

    pub fn end_order(&mut self, id: u64) {
        let Some(order) = self.orders.remove(&id) else { return };
        if let Some(host) = self.hosts.announced.get_mut(&order.host) {
            host.duties.retain(|duty| duty.id != id);
        }
    }

    /// With the host that is gone.
    pub(super) fn drop_orders_of(&mut self, host: &HostId) {
        let known = self.orders.len();
        self.orders.retain(|_, order| order.host != *host);
        if self.orders.len() < known {
            self.rings.push(Ring::Orders);
        }
    }
}
