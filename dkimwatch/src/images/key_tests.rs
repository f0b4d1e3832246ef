//! Keys in all their forms, and what is no key.

use super::*;
use crate::images::{made, pem};

/// RFC 8032, section 7.1, test 1: everybody's key, which RFC 8463 takes as its example.
const SEED: [u8; 32] = [
    0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49, 0xc5,
    0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];
/// And the `p=` of that example (appendix A.2).
const P: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

fn of_text(text: &[u8]) -> Vec<Key> {
    pem::blocks(text, usize::MAX).iter().map(Key::of_pem).collect()
}

#[test]
fn ed25519_in_all_its_forms_is_the_published_one() {
    let published = published(&base64::decoded(P.as_bytes()).unwrap()).unwrap();
    let both = [SEED, of_seed(&SEED)].concat();
    let inner = [&[0x04, 0x20][..], &SEED].concat();
    let pkcs8 = [&[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22][..], &inner].concat();
    let mut keys = of_text(&made::pem("PRIVATE KEY", &pkcs8));
    keys.extend(Key::of_der(&pkcs8));
    for bytes in [&SEED[..], &both, &pkcs8] {
        keys.extend(Key::of_base64(base64::encoded(bytes).as_bytes()));
    }
    assert_eq!(keys.len(), 5);
    for key in keys {
        assert_eq!((key.algorithm, key.public), (Algorithm::Ed25519, Some(published)), "{}", key.form);
    }
    let strangers = [SEED, [1; 32]].concat();
    assert_eq!(Key::of_base64(base64::encoded(&strangers).as_bytes()), None, "halves that do not belong together");
}

#[test]
fn rsa_in_all_its_forms_is_the_published_one() {
    let der = made::rsa(2048, 1);
    let record = made::record(1, "s._domainkey.example.org");
    let published = super::super::record::records(record.as_bytes())[0].public;
    let pkcs8 = made::pkcs8(&der);
    let mut keys = of_text(&made::pem("PRIVATE KEY", &pkcs8));
    keys.extend(of_text(&made::pem("RSA PRIVATE KEY", &der)));
    for bytes in [&der, &pkcs8] {
        keys.extend(Key::of_der(bytes));
        keys.extend(Key::of_base64(base64::encoded(bytes).as_bytes()));
    }
    let forms: Vec<_> = keys.iter().map(|key| key.form).collect();
    assert_eq!(forms, ["PKCS#8 PEM", "PKCS#1 PEM", "PKCS#1 DER", "DER in base64", "PKCS#8 DER", "PKCS#8 in base64"]);
    for key in keys {
        assert_eq!((key.algorithm, key.public), (Algorithm::Rsa(2048), Some(published)), "{}", key.form);
    }
}

#[test]
fn what_cannot_be_read_is_a_key_still() {
    let der = made::rsa(1024, 2);
    let why = |text: &[u8]| of_text(text)[0].algorithm.to_string();
    assert_eq!(why(&made::pem("ENCRYPTED PRIVATE KEY", &der)), "unknown (encrypted)");
    assert_eq!(why(&made::pem("PRIVATE KEY", &der[..100])), "unknown (damaged, or of no known structure)");
    assert_eq!(why(&made::pem("PRIVATE KEY", &der)[..200]), "unknown (cut or damaged)");
    assert_eq!(why(&made::pem("DSA PRIVATE KEY", &der[..100])), "DSA");
}

#[test]
fn the_public_half_of_an_openssh_key() {
    fn string(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
    }
    let public = [string(b"ssh-ed25519"), string(&of_seed(&SEED))].concat();
    let mut body = b"openssh-key-v1\0".to_vec();
    for part in [&b"none"[..], b"none", b""] {
        body.extend(string(part));
    }
    body.extend(1_u32.to_be_bytes());
    body.extend(string(&public));
    let key = &of_text(&made::pem("OPENSSH PRIVATE KEY", &body))[0];
    assert_eq!(key.public, published(&of_seed(&SEED)));
    for length in 0..body.len() {
        let _ = openssh(&body[..length]);
    }
}

#[test]
fn other_bytes_are_no_key() {
    let rsa = made::rsa(1024, 3);
    for length in 0..rsa.len() {
        assert_eq!(Key::of_der(&rsa[..length]), None);
    }
    for text in ["", "QUJD", "!!!!", "===="] {
        assert_eq!(Key::of_base64(text.as_bytes()), None, "{text}");
    }
    assert_eq!(published(b""), None);
    assert_eq!(published(&[0x30; 33]), None);
}

#[test]
fn nothing_of_a_key_is_shown_but_its_public_half() {
    let key = Key::of_base64(base64::encoded(&SEED).as_bytes()).unwrap();
    let shown = format!("{key:?}");
    assert!(shown.contains(&key.public.unwrap().to_string()));
    assert!(!shown.contains(&base64::encoded(&SEED)[..8]) && !shown.contains("157"), "{shown}");
}
