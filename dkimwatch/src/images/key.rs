//! What a private key is, and its public half: structure only, no arithmetic on secrets but Ed25519's one multiplication.
//!
//! The public half is known as the SHA-256 of its SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7). Nothing else of a key
//! leaves this module.

use std::fmt;

use ed25519_dalek::SigningKey;
use pkcs1::{RsaPrivateKeyRef, RsaPublicKeyRef};
use pkcs8::{
    AlgorithmIdentifierRef, ObjectIdentifier, PrivateKeyInfoRef, SubjectPublicKeyInfoRef,
    der::{
        Decode as _, Encode as _,
        asn1::{AnyRef, BitStringRef, OctetStringRef},
    },
};
use sec1::{EcParameters, EcPrivateKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{base64, pem::Pem};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const DSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10040.4.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The SHA-256 of a public key's SubjectPublicKeyInfo; shown as base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64::encoded(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The algorithm of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// RSA, with the bits of its modulus.
    Rsa(usize),
    /// Ed25519 (RFC 8463).
    Ed25519,
    /// Another one, by its name: no DKIM key (RFC 6376 and RFC 8463 know no third algorithm).
    Other(String),
    /// Not known: encrypted, cut or of no known structure.
    Unknown(&'static str),
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA {bits}"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Other(name) => f.write_str(name),
            Self::Unknown(why) => write!(f, "unknown ({why})"),
        }
    }
}

/// What may be known of a private key without knowing it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// How it is written down.
    pub form: &'static str,
    /// Its public half, where that can be told.
    pub public: Option<Fingerprint>,
}

impl Key {
    const fn unknown(why: &'static str, form: &'static str) -> Self {
        Self { algorithm: Algorithm::Unknown(why), form, public: None }
    }

    /// The key of a PEM block.
    pub(super) fn of_pem(pem: &Pem) -> Self {
        let form = match pem.label.as_str() {
            "PRIVATE KEY" => "PKCS#8 PEM",
            "ENCRYPTED PRIVATE KEY" => return Self::unknown("encrypted", "PKCS#8 PEM"),
            "RSA PRIVATE KEY" => "PKCS#1 PEM",
            "EC PRIVATE KEY" => "SEC1 PEM",
            "OPENSSH PRIVATE KEY" => "OpenSSH",
            _ => "PEM",
        };
        if pem.encrypted {
            return Self::unknown("encrypted", form);
        }
        let Some(body) = &pem.body else { return Self::unknown("cut or damaged", form) };
        let known = if form == "OpenSSH" { openssh(body) } else { structure(body).map(|(known, _)| known) };
        match known {
            Some((algorithm, public)) => Self { algorithm, form, public },
            None if pem.label == "DSA PRIVATE KEY" => {
                Self { algorithm: Algorithm::Other("DSA".into()), form, public: None }
            }
            None => Self::unknown("damaged, or of no known structure", form),
        }
    }

    /// The key in DER without a text form around it.
    pub(super) fn of_der(der: &[u8]) -> Option<Self> {
        let ((algorithm, public), form) = structure(der)?;
        Some(Self { algorithm, form, public })
    }

    /// The key in base64 without a header, as Rspamd, dkimpy and OpenDKIM's tables have it: a seed of 32 bytes, a seed and
    /// its public half, or DER.
    pub(super) fn of_base64(text: &[u8]) -> Option<Self> {
        let bytes = base64::decoded(text)?;
        if let Some(mut key) = Self::of_der(&bytes) {
            key.form = if key.form == "PKCS#8 DER" { "PKCS#8 in base64" } else { "DER in base64" };
            return Some(key);
        }
        let (seed, said) = match bytes.len() {
            32 => (bytes.first_chunk()?, None),
            64 => (bytes.first_chunk()?, bytes.last_chunk::<32>()),
            _ => return None,
        };
        let public = of_seed(seed);
        // 64 bytes whose halves do not belong together sign nothing; they are something else (a digest, say).
        if said.is_some_and(|said| *said != public) {
            return None;
        }
        let form = if said.is_some() { "seed and public half in base64" } else { "seed in base64" };
        Some(Self { algorithm: Algorithm::Ed25519, form, public: ed25519(&public) })
    }
}

type Known = (Algorithm, Option<Fingerprint>);

/// PKCS#8 (RFC 5958), PKCS#1 (RFC 8017, appendix A.1.2) or SEC1 (RFC 5915), whichever it is.
fn structure(der: &[u8]) -> Option<(Known, &'static str)> {
    if let Ok(info) = PrivateKeyInfoRef::from_der(der) {
        return Some((pkcs8(&info), "PKCS#8 DER"));
    }
    if let Ok(key) = RsaPrivateKeyRef::from_der(der) {
        return Some((rsa(&key.public_key()), "PKCS#1 DER"));
    }
    let key = EcPrivateKey::from_der(der).ok()?;
    let curve = key.parameters.and_then(EcParameters::named_curve);
    Some((elliptic(curve, key.public_key), "SEC1 DER"))
}

fn pkcs8(info: &PrivateKeyInfoRef<'_>) -> Known {
    let inner = info.private_key.as_bytes();
    let damaged = (Algorithm::Unknown("damaged"), None);
    match info.algorithm.oid {
        RSA => RsaPrivateKeyRef::from_der(inner).map_or(damaged, |key| rsa(&key.public_key())),
        // The seed is an octet string in the octet string (RFC 8410, section 7).
        ED25519 => match <&OctetStringRef>::from_der(inner).map(|seed| seed.as_bytes().first_chunk::<32>()) {
            Ok(Some(seed)) => (Algorithm::Ed25519, ed25519(&of_seed(seed))),
            _ => damaged,
        },
        EC => {
            let curve = info.algorithm.parameters.and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok());
            let key = EcPrivateKey::from_der(inner).ok();
            elliptic(curve, key.and_then(|key| key.public_key))
        }
        RSA_PSS => (Algorithm::Other("RSA-PSS".into()), None),
        DSA => (Algorithm::Other("DSA".into()), None),
        other => (Algorithm::Other(format!("algorithm {other}")), None),
    }
}

fn rsa(public: &RsaPublicKeyRef<'_>) -> Known {
    let modulus = public.modulus.as_bytes();
    let leading = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = (modulus.len() * 8).saturating_sub(leading);
    let null = AlgorithmIdentifierRef { oid: RSA, parameters: Some(AnyRef::NULL) };
    let print = public.to_der().ok().and_then(|der| fingerprint(null, &der));
    (Algorithm::Rsa(bits), print)
}

fn elliptic(curve: Option<ObjectIdentifier>, public: Option<&[u8]>) -> Known {
    let name = match curve.map(|curve| curve.to_string()).as_deref() {
        Some("1.2.840.10045.3.1.7") => "EC P-256".to_owned(),
        Some("1.3.132.0.34") => "EC P-384".to_owned(),
        Some("1.3.132.0.35") => "EC P-521".to_owned(),
        Some("1.3.132.0.10") => "EC secp256k1".to_owned(),
        Some(other) => format!("EC {other}"),
        None => "EC".to_owned(),
    };
    let print = curve.zip(public).and_then(|(curve, public)| {
        fingerprint(AlgorithmIdentifierRef { oid: EC, parameters: Some(AnyRef::from(&curve)) }, public)
    });
    (Algorithm::Other(name), print)
}

/// The public key of a seed (RFC 8032, section 5.1.5).
fn of_seed(seed: &[u8; 32]) -> [u8; 32] {
    SigningKey::from_bytes(seed).verifying_key().to_bytes()
}

fn ed25519(public: &[u8]) -> Option<Fingerprint> {
    fingerprint(AlgorithmIdentifierRef { oid: ED25519, parameters: None }, public)
}

fn fingerprint(algorithm: AlgorithmIdentifierRef<'_>, public: &[u8]) -> Option<Fingerprint> {
    let subject_public_key = BitStringRef::from_bytes(public).ok()?;
    let info = SubjectPublicKeyInfoRef { algorithm, subject_public_key };
    Some(Fingerprint(Sha256::digest(info.to_der().ok()?).into()))
}

/// The key of a DKIM record's `p=`, decoded: a SubjectPublicKeyInfo, an RSAPublicKey (which RFC 6376 once asked for), or
/// the 32 bytes of Ed25519 (RFC 8463, section 4).
pub(super) fn published(bytes: &[u8]) -> Option<Fingerprint> {
    if bytes.len() == 32 {
        return ed25519(bytes);
    }
    if let Ok(info) = SubjectPublicKeyInfoRef::from_der(bytes) {
        return Some(Fingerprint(Sha256::digest(info.to_der().ok()?).into()));
    }
    rsa(&RsaPublicKeyRef::from_der(bytes).ok()?).1
}

/// OpenSSH's own form (its PROTOCOL.key): magic, cipher, KDF, options, count, then the public half in the clear, also
/// where the rest is encrypted.
fn openssh(bytes: &[u8]) -> Option<Known> {
    fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (string, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        *rest = after;
        Some(string)
    }
    let mut rest = bytes.strip_prefix(b"openssh-key-v1\0")?;
    for _ in ["cipher", "kdf", "its options"] {
        string(&mut rest)?;
    }
    let (_, mut rest) = rest.split_first_chunk::<4>()?;
    let mut public = string(&mut rest)?;
    match string(&mut public)? {
        b"ssh-rsa" => {
            let (exponent, modulus) = (string(&mut public)?, string(&mut public)?);
            let number = |bytes| pkcs8::der::asn1::UintRef::new(bytes).ok();
            Some(rsa(&RsaPublicKeyRef { modulus: number(modulus)?, public_exponent: number(exponent)? }))
        }
        b"ssh-ed25519" => Some((Algorithm::Ed25519, ed25519(string(&mut public)?))),
        other => Some((Algorithm::Other(crate::escape::text(other.get(..64).unwrap_or(other))), None)),
    }
}

/// A key's text with all blanks left out, if it is nothing but base64.
pub(super) fn bare(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    // As long as it can become: a buffer that grows leaves its former content behind.
    let mut digits = Zeroizing::new(Vec::with_capacity(text.len()));
    digits.extend(text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()));
    (!digits.is_empty() && digits.iter().all(|byte| base64::is_digit(*byte))).then_some(digits)
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
