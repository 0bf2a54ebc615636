//! What this machine is, as far as prebuilt binaries care.

use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Os {
    Linux,
    Mac,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arch {
    X64,
    Arm64,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Libc {
    Gnu,
    Musl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Platform {
    pub(super) os: Os,
    pub(super) arch: Arch,
    pub(super) libc: Libc,
}

impl Platform {
    pub(super) fn here() -> Self {
        let os = match std::env::consts::OS {
            "linux" => Os::Linux,
            "macos" => Os::Mac,
            _ => Os::Other,
        };
        let arch = match std::env::consts::ARCH {
            "x86_64" => Arch::X64,
            "aarch64" => Arch::Arm64,
            _ => Arch::Other,
        };
        Self {
            os,
            arch,
            libc: libc_of_the_machine(),
        }
    }
}

/// `sb` itself may be static, so its own target says nothing about what the machine can run.
fn libc_of_the_machine() -> Libc {
    let has = |path: &str| Path::new(path).exists();
    let gnu = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"]
        .into_iter()
        .any(has);
    let musl = ["/lib/ld-musl-x86_64.so.1", "/lib/ld-musl-aarch64.so.1"]
        .into_iter()
        .any(has);
    if musl && !gnu { Libc::Musl } else { Libc::Gnu }
}
