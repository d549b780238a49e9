//! The edge: performs what the engine decided, on processes, sockets and files.

pub mod channel;
pub mod children;
pub mod console;
pub mod intake;
pub mod json;
pub mod logging;
pub mod machine;
pub mod options;
