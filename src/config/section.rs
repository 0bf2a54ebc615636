//! The macro that declares a section once: its type, and the table that the docs, `sb info` and the checks read.

use std::collections::BTreeMap;

/// Where an effective value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// `sb.toml`.
    File,
    /// The project's `.env` file.
    DotEnv(String),
    /// The process environment.
    Env(String),
    /// A command line flag.
    Flag,
    /// An embedding program.
    Program,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File => f.write_str("sb.toml"),
            Self::DotEnv(name) => write!(f, ".env {name}"),
            Self::Env(name) => write!(f, "env {name}"),
            Self::Flag => f.write_str("flag"),
            Self::Program => f.write_str("program"),
        }
    }
}

/// What is known of a setting before any value is read.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Table in `sb.toml`.
    pub section: &'static str,
    /// Key in that table.
    pub key: &'static str,
    /// Environment variable.
    pub env: &'static str,
    /// What it does.
    pub doc: &'static [&'static str],
    /// Masked wherever it is printed.
    pub secret: bool,
    /// Takes effect without a restart.
    pub live: bool,
    /// The default as text.
    pub default: fn() -> String,
}

impl Field {
    /// `section.key`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }
}

/// A raw value and where it came from; the last layer that names a setting wins.
#[derive(Debug, Clone)]
pub enum Raw {
    /// From `sb.toml`.
    Toml(toml::Value),
    /// From text (environment, flag).
    Text(String),
}

/// The raw values by `section.key`.
pub type Layers = BTreeMap<String, (Raw, Origin)>;

/// One effective setting as `sb info` shows it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Effective {
    /// `section.key`.
    pub key: String,
    /// The value, masked when secret.
    pub value: String,
    /// Where it came from.
    pub origin: String,
    /// A fingerprint that changes with the value, also for secrets.
    #[serde(skip)]
    pub(crate) exact: u64,
    #[serde(skip)]
    pub(crate) live: bool,
}

macro_rules! section {
    (
        $(#[doc = $doc:literal])*
        $name:ident in $section:literal {
            $( $(#[doc = $fdoc:literal])+ $([$live:ident])? $field:ident : $type:ty = $default:expr, $env:literal; )+
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone)]
        pub struct $name { $( $(#[doc = $fdoc])+ pub $field: $type, )+ }

        impl Default for $name {
            fn default() -> Self { Self { $( $field: $default, )+ } }
        }

        impl $name {
            /// The settings of this section.
            pub const FIELDS: &'static [$crate::config::section::Field] = &[$( $crate::config::section::Field {
                section: $section,
                key: stringify!($field),
                env: $env,
                doc: &[$($fdoc),+],
                secret: <$type as $crate::config::value::Setting>::SECRET,
                live: $crate::config::section::is_live!($($live)?),
                default: || { let value: $type = $default; $crate::config::value::Setting::show(&value) },
            } ),+];

            /// These settings, with those of `next` that take effect without a restart.
            pub(super) fn with_live_of(&self, next: &Self) -> Self {
                let _ = next;
                Self { $( $field: $crate::config::section::live_of!(self, next, $field $(, $live)?), )+ }
            }

            pub(super) fn load(
                layers: &$crate::config::section::Layers,
                effective: &mut Vec<$crate::config::section::Effective>,
                problems: &mut Vec<String>,
            ) -> Self {
                Self { $( $field: $crate::config::section::load_field(
                    layers, concat!($section, ".", stringify!($field)), $default,
                    $crate::config::section::is_live!($($live)?), effective, problems,
                ), )+ }
            }
        }
    };
}
pub(crate) use section;

macro_rules! is_live {
    () => {
        false
    };
    (live) => {
        true
    };
}
pub(crate) use is_live;

macro_rules! live_of {
    ($now:ident, $next:ident, $field:ident) => {
        $now.$field.clone()
    };
    ($now:ident, $next:ident, $field:ident, live) => {
        $next.$field.clone()
    };
}
pub(crate) use live_of;

pub(super) fn load_field<T: super::value::Setting>(
    layers: &Layers,
    path: &str,
    default: T,
    live: bool,
    effective: &mut Vec<Effective>,
    problems: &mut Vec<String>,
) -> T {
    let (value, origin) = match layers.get(path) {
        None => (default, Origin::Default),
        Some((raw, origin)) => {
            let parsed = match raw {
                Raw::Toml(value) => T::from_toml(value),
                Raw::Text(text) => T::from_text(text),
            };
            match parsed {
                Ok(value) => (value, origin.clone()),
                Err(expected) => {
                    problems.push(format!("{path} ({origin}) must be {expected}"));
                    (default, Origin::Default)
                }
            }
        }
    };
    let exact = fingerprint(
        &layers
            .get(path)
            .map(|(raw, _)| format!("{raw:?}"))
            .unwrap_or_default(),
    );
    effective.push(Effective {
        key: path.to_owned(),
        value: value.show(),
        origin: origin.to_string(),
        exact,
        live,
    });
    value
}

/// Tells two values apart without keeping them.
pub(super) fn fingerprint(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}
