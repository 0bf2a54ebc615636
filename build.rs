//! Tells cargo that a new file in `migrations/` changes the binary.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
