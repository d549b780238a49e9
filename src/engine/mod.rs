//! The engine: decides, and does nothing else.

pub mod cloud;
pub mod codec;
pub mod ident;
pub mod segment;
pub mod settings;
pub mod share;
pub mod slot;
pub mod status;
