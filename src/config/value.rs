//! How one setting is read from TOML or from text, and printed back.

use std::net::IpAddr;
use std::path::PathBuf;

use super::Secret;

/// A type a setting can have.
pub trait Setting: Sized {
    /// Whether the value is masked wherever settings are printed.
    const SECRET: bool = false;

    /// Reads the value from `sb.toml`. The error says what was expected.
    fn from_toml(value: &toml::Value) -> Result<Self, String>;

    /// Reads the value from an environment variable or a flag. The error says what was expected.
    fn from_text(text: &str) -> Result<Self, String>;

    /// The value as `sb info` prints it.
    fn show(&self) -> String;
}

impl Setting for String {
    fn from_toml(value: &toml::Value) -> Result<Self, String> {
        value
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| "a string in quotes".to_owned())
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Setting for bool {
    fn from_toml(value: &toml::Value) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| "true or false".to_owned())
    }

    fn from_text(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err("true or false".to_owned()),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

macro_rules! whole_number {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            fn from_toml(value: &toml::Value) -> Result<Self, String> {
                value
                    .as_integer()
                    .and_then(|n| <$type>::try_from(n).ok())
                    .ok_or_else(|| format!("a whole number from 0 to {}", <$type>::MAX))
            }

            fn from_text(text: &str) -> Result<Self, String> {
                text.trim().parse().map_err(|_| format!("a whole number from 0 to {}", <$type>::MAX))
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
whole_number!(u16, u32, u64, usize);

impl Setting for f64 {
    fn from_toml(value: &toml::Value) -> Result<Self, String> {
        Self::from_text(&value.to_string())
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let number = text.trim().parse::<Self>().ok();
        number
            .filter(|number| number.is_finite() && *number >= 0.0)
            .ok_or_else(|| "a number that is not negative".to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for PathBuf {
    fn from_toml(value: &toml::Value) -> Result<Self, String> {
        String::from_toml(value).map(Self::from)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self::from(text))
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Setting for IpAddr {
    fn from_toml(value: &toml::Value) -> Result<Self, String> {
        Self::from_text(value.as_str().unwrap_or_default())
    }

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| "an IP address such as 127.0.0.1 or 0.0.0.0".to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for Secret {
    const SECRET: bool = true;

    fn from_toml(value: &toml::Value) -> Result<Self, String> {
        String::from_toml(value).map(Self::new)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self::new(text))
    }

    fn show(&self) -> String {
        "********".to_owned()
    }
}

impl<T: Setting> Setting for Option<T> {
    const SECRET: bool = T::SECRET;

    fn from_toml(value: &toml::Value) -> Result<Self, String> {
        T::from_toml(value).map(Some)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            Ok(None)
        } else {
            T::from_text(text).map(Some)
        }
    }

    fn show(&self) -> String {
        self.as_ref().map(Setting::show).unwrap_or_default()
    }
}

impl Setting for Vec<String> {
    fn from_toml(value: &toml::Value) -> Result<Self, String> {
        let list = value
            .as_array()
            .ok_or_else(|| "a list of strings".to_owned())?;
        list.iter()
            .map(String::from_toml)
            .collect::<Result<_, _>>()
            .map_err(|_| "a list of strings".to_owned())
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect())
    }

    fn show(&self) -> String {
        self.join(",")
    }
}

/// Makes a closed set of words a [`Setting`].
macro_rules! words {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $vdoc:literal])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[doc = $vdoc])* $variant),+ }

        impl $name {
            /// The word used in settings.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl $crate::config::value::Setting for $name {
            fn from_toml(value: &toml::Value) -> Result<Self, String> {
                Self::from_text(value.as_str().unwrap_or_default())
            }

            fn from_text(text: &str) -> Result<Self, String> {
                match text { $($word => Ok(Self::$variant),)+ _ => Err(format!("one of {}", [$($word),+].join(", "))) }
            }

            fn show(&self) -> String {
                self.as_str().to_owned()
            }
        }
    };
}
pub(crate) use words;
