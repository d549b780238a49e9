//! The edge: performs what the engine decided, on processes, sockets and files.

pub mod channel;
pub mod children;
pub mod cloud;
pub mod config;
pub mod json;
pub mod uplink;
