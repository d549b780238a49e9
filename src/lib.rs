//! The edge agent.

pub mod edge;
pub mod engine;
pub mod exit;
pub mod limits;
#[allow(unsafe_code)]
pub mod sys;
