//! As the package's own: see `src/sys/dial.rs`.

fn main() {
    for name in ["connect", "getaddrinfo"] {
        println!("cargo:rustc-link-arg=-Wl,--wrap={name}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
