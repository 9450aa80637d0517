//! The fleet, kept fresh: read every 5 s while the page is visible and the manager answers. What was read stays until
//! something newer comes; how old it is, is on the page.

use df_client::ManagerClient;
use futures_util::future::try_join3;
use leptos::prelude::*;
use leptos::task::spawn_local;
use web_sys::VisibilityState;

use crate::api::{Failure, call};
use crate::clock::{Clock, now};
use crate::fleet::Fleet;
use crate::session::Session;

#[derive(Clone, Copy)]
pub struct LiveFleet {
    session: Session,
    fleet: RwSignal<Option<Fleet>>,
    read_at: RwSignal<f64>,
    failure: RwSignal<Option<Failure>>,
    asked_at: StoredValue<f64>,
    asking: RwSignal<bool>,
}

const EVERY_MS: f64 = 5000.0;

async fn read(manager: ManagerClient) -> Result<Fleet, df_client::ClientError> {
    let reads = try_join3(manager.list_clusters(), manager.list_schedulers(), manager.list_seed_peers());
    reads.await.map(|(clusters, schedulers, seed_peers)| Fleet { clusters, schedulers, seed_peers })
}

// === impl LiveFleet ===

impl LiveFleet {
    /// Reads at once, then as often as the clock says, until the owner of this is gone.
    pub fn start(session: Session, clock: Clock) -> Self {
        let live = Self {
            session,
            fleet: RwSignal::new(None),
            read_at: RwSignal::new(0.0),
            failure: RwSignal::new(None),
            asked_at: StoredValue::new(0.0),
            asking: RwSignal::new(false),
        };
        Effect::new(move |_| {
            let visible = document().visibility_state() == VisibilityState::Visible;
            let due = clock.now().max(now()) - live.asked_at.get_value() >= EVERY_MS;
            if session.reach.answers() && visible && due {
                live.refresh();
            }
        });
        live
    }

    pub fn refresh(self) {
        if self.asking.get_untracked() {
            return;
        }
        self.asking.set(true);
        self.asked_at.set_value(now());
        spawn_local(async move {
            let outcome = call(read).await;
            // Gone with its page while the answer was on its way.
            if self.asking.try_set(false).is_some() {
                return;
            }
            self.session.note(&outcome);
            match outcome {
                Ok(fleet) => {
                    self.fleet.set(Some(fleet));
                    self.read_at.set(now());
                    self.fail(None);
                }
                // Silence has its own banner, and signing in again its own page.
                Err(Failure::Silent | Failure::SignedOut(_)) => {}
                Err(failure) => self.fail(Some(failure)),
            }
        });
    }

    /// Tells only what is new: whoever shows a failure would be drawn again with every read.
    fn fail(self, failure: Option<Failure>) {
        if self.failure.with_untracked(|known| *known != failure) {
            self.failure.set(failure);
        }
    }

    pub fn fleet(self) -> RwSignal<Option<Fleet>> {
        self.fleet
    }

    pub fn failure(self) -> Option<Failure> {
        self.failure.get()
    }

    pub fn is_asking(self) -> bool {
        self.asking.get()
    }

    /// When what is on screen was read, if ever.
    pub fn read_at(self) -> Option<f64> {
        self.fleet.with(Option::is_some).then(|| self.read_at.get())
    }

    pub fn is_stale(self) -> bool {
        !self.session.reach.answers() || self.failure.with(Option::is_some)
    }
}
