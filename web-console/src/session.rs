//! Who is signed in. The token is in an HttpOnly cookie that the manager sets; the page only knows the user.

use df_api::manager::{SignInRequest, User};
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::api::{Failure, call};
use crate::reach::Reach;

#[derive(Clone, Debug, PartialEq)]
pub enum Who {
    /// Not asked yet.
    Unknown,
    Nobody,
    User(Box<User>),
}

#[derive(Clone, Copy)]
pub struct Session {
    pub reach: Reach,
    who: RwSignal<Who>,
    asking: RwSignal<bool>,
}

// === impl Session ===

impl Session {
    pub fn new() -> Self {
        Self { reach: Reach::new(), who: RwSignal::new(Who::Unknown), asking: RwSignal::new(false) }
    }

    pub fn who(self) -> Who {
        self.who.get()
    }

    pub fn user(self) -> Option<User> {
        self.who.with(|who| match who {
            Who::User(user) => Some(User::clone(user)),
            Who::Unknown | Who::Nobody => None,
        })
    }

    /// Asks the manager who is signed in; one question at a time.
    pub fn load(self) {
        if self.asking.get_untracked() {
            return;
        }
        self.asking.set(true);
        spawn_local(async move {
            let outcome = call(async |manager| manager.get_session().await).await;
            self.asking.set(false);
            self.note(&outcome);
            if let Ok(user) = outcome {
                self.become_(Who::User(Box::new(user)));
            }
        });
    }

    /// What every answer says besides its content: whether the manager is there, and whether it still knows us.
    pub fn note<T>(self, outcome: &Result<T, Failure>) {
        self.reach.note(outcome);
        if let Err(Failure::SignedOut(_)) = outcome {
            self.become_(Who::Nobody);
        }
    }

    pub async fn sign_in(self, name: String, password: String) -> Result<(), Failure> {
        let request = SignInRequest { name, password };
        let outcome = call(async |manager| manager.sign_in(&request).await).await;
        self.reach.note(&outcome);
        self.become_(Who::User(Box::new(outcome?.user)));
        Ok(())
    }

    /// Signed out is also who was signed out already. `leave` runs before the page learns of it.
    pub async fn sign_out_with(self, leave: impl FnOnce()) -> Result<(), Failure> {
        let outcome = call(async |manager| manager.sign_out().await).await;
        self.reach.note(&outcome);
        match outcome {
            Ok(()) | Err(Failure::SignedOut(_)) => {
                leave();
                self.become_(Who::Nobody);
                Ok(())
            }
            Err(failure) => Err(failure),
        }
    }

    /// Sets only what differs, so that nothing is drawn again for nothing.
    fn become_(self, who: Who) {
        if self.who.with_untracked(|known| *known != who) {
            self.who.set(who);
        }
    }
}
