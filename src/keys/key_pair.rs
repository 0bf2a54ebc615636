//! Key pairs: making, importing, signing, and their public half as a JWK.

use std::collections::BTreeMap;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::KeysError;
use crate::config::Algorithm;

/// A private key with its public half. The parsed form is kept, because parsing costs as much as signing.
#[derive(Debug)]
pub(super) enum KeyPair {
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair),
}

impl KeyPair {
    /// RSA with 2048 bits or P-256.
    pub(super) fn generate(algorithm: Algorithm) -> Result<Self, KeysError> {
        match algorithm {
            Algorithm::Rs256 => RsaKeyPair::generate(KeySize::Rsa2048)
                .map(|pair| Self::Rsa(Box::new(pair)))
                .map_err(|_| KeysError::Crypto),
            Algorithm::Es256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
                .map(Self::Ec)
                .map_err(|_| KeysError::Crypto),
        }
    }

    pub(super) fn from_pkcs8(algorithm: Algorithm, der: &[u8]) -> Result<Self, KeysError> {
        match algorithm {
            Algorithm::Rs256 => RsaKeyPair::from_pkcs8(der)
                .map(|pair| Self::Rsa(Box::new(pair)))
                .map_err(|_| KeysError::Crypto),
            Algorithm::Es256 => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
                .map(Self::Ec)
                .map_err(|_| KeysError::Crypto),
        }
    }

    /// Reads PEM text: PKCS#8, or the older RSA and EC forms. Environment files often hold `\n` for line ends.
    pub(super) fn from_pem(text: &str) -> Result<Self, KeysError> {
        const EXPECTED: &str =
            "it is no private key in PEM form: RSA of at least 2048 bits, or P-256";
        let unusable = || KeysError::Import(EXPECTED.to_owned());
        let text = text.replace("\\n", "\n");
        let der = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| unusable())?;
        match &der {
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                Self::from_pkcs8(Algorithm::Rs256, der)
                    .or_else(|_| Self::from_pkcs8(Algorithm::Es256, der))
                    .map_err(|_| unusable())
            }
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der())
                .map(|pair| Self::Rsa(Box::new(pair)))
                .map_err(|_| unusable()),
            PrivateKeyDer::Sec1(der) => {
                let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
                EcdsaKeyPair::from_private_key_der(algorithm, der.secret_sec1_der())
                    .map(Self::Ec)
                    .map_err(|_| unusable())
            }
            _ => Err(unusable()),
        }
    }

    pub(super) fn to_pkcs8(&self) -> Result<Vec<u8>, KeysError> {
        match self {
            Self::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeysError::Crypto)?;
                Ok(der.as_ref().to_vec())
            }
            Self::Ec(pair) => {
                let der = pair.to_pkcs8v1().map_err(|_| KeysError::Crypto)?;
                Ok(der.as_ref().to_vec())
            }
        }
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa(_) => Algorithm::Rs256,
            Self::Ec(_) => Algorithm::Es256,
        }
    }

    /// The signature as a JWS carries it (ECDSA: both numbers side by side).
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeysError> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map_err(|_| KeysError::Crypto)?;
                Ok(signature)
            }
            Self::Ec(pair) => {
                let signature = pair.sign(&random, message).map_err(|_| KeysError::Crypto)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }

    /// The members RFC 7638 asks for, and nothing else.
    pub(super) fn public_members(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Rsa(pair) => {
                let public = pair.public_key();
                let (n, e) = (public.modulus(), public.exponent());
                json!({
                    "e": encode(e.big_endian_without_leading_zero()),
                    "kty": "RSA",
                    "n": encode(n.big_endian_without_leading_zero()),
                })
            }
            Self::Ec(pair) => {
                // 0x04, then both coordinates in full length.
                let point = pair.public_key().as_ref();
                let (x, y) = point[1..].split_at(32);
                json!({ "crv": "P-256", "kty": "EC", "x": encode(x), "y": encode(y) })
            }
        }
    }

    /// The key's id: its RFC 7638 thumbprint.
    pub(super) fn thumbprint(&self) -> String {
        thumbprint(&self.public_members())
    }
}

/// SHA-256 of the members in the order of their names, without spaces.
pub(super) fn thumbprint(members: &Value) -> String {
    let members: BTreeMap<&String, &Value> = members.as_object().into_iter().flatten().collect();
    let text = serde_json::to_vec(&members).expect("strings are JSON");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &text);
    URL_SAFE_NO_PAD.encode(digest.as_ref())
}
