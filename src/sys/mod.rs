//! Small safe wrappers over libc, and the only home of `unsafe`.
