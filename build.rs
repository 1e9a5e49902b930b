//! Gives the shared library its name for the loader, and keeps it mapped once loaded.
//!
//! `nodelete`: the library owns threads, and unmapping their code under them would crash the host.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // Before 1.0 every minor version may change the ABI, so the SONAME carries 0.MINOR.
        let minor = std::env::var("CARGO_PKG_VERSION_MINOR").unwrap_or_default();
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libredmux.so.0.{minor}");
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
