//! The manager's resources. Paths and field names follow the incumbent's `/api/v1`, so that scripts keep working;
//! leases and discovery are the components' own calls beside them.

mod accounts;
mod audits;
mod buckets;
mod clusters;
mod discovery;
mod instances;
mod job_leases;
mod jobs;
mod joining;
mod oauth;
mod peers;
mod persistent_cache_tasks;
mod settings;

pub use accounts::*;
pub use audits::*;
pub use buckets::*;
pub use clusters::*;
pub use discovery::*;
pub use instances::*;
pub use job_leases::*;
pub use jobs::*;
pub use joining::*;
pub use oauth::*;
pub use peers::*;
pub use persistent_cache_tasks::*;
pub use settings::*;
