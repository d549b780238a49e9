//! Has the linker put `src/sys/dial.rs` before two functions of the C library.
//!
//! Whatever is linked must contain the library, be it by `use edge_agent as _`.

fn main() {
    for name in ["connect", "getaddrinfo"] {
        println!("cargo:rustc-link-arg=-Wl,--wrap={name}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
