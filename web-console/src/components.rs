//! Parts that pages are made of. Markup, classes and words are those of the console design.

pub mod banners;
pub mod cluster_card;
pub mod fleet_stats;
pub mod frame;
pub mod heading;
pub mod icon;
pub mod menu;
pub mod notices;
pub mod theme_switch;
pub mod user_menu;
