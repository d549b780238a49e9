//! The edge: performs what the engine decided, on processes, sockets and files.

pub mod agent;
pub mod alerts;
pub mod channel;
pub mod children;
pub mod cloud;
pub mod collector;
pub mod commands;
pub mod config;
pub mod console;
pub mod gather;
pub mod history;
pub mod hold;
pub mod intake;
pub mod json;
pub mod keeper;
pub mod logging;
pub mod machine;
pub mod options;
mod service;
pub mod share;
pub mod sources;
pub mod tally;
pub mod uplink;
pub mod value;
pub mod wall;
