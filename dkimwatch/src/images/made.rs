//! What the tests search: keys, layers and archives, made on the spot. The keys have the form of keys and are nobody's.

use std::{collections::BTreeMap, io::Write as _};

use pkcs1::{RsaPrivateKeyRef, UintRef};
use pkcs8::{AlgorithmIdentifierRef, ObjectIdentifier, PrivateKeyInfoRef, der::Encode as _};
use tar::{Builder, EntryType, Header};

use super::{base64, layer::digest_of};

/// An RSA key as PKCS#1: numbers of the right sizes, which is all that is read of them. Another seed, another key.
pub(crate) fn rsa(bits: usize, seed: u8) -> Vec<u8> {
    let number = |bytes: usize, salt: u8| -> Vec<u8> {
        let mut state = u32::from(seed) * 257 + u32::from(salt) + 1;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        let mut number: Vec<u8> = (0..bytes).map(|_| next()).collect();
        number[0] |= 0x80;
        number[bytes - 1] |= 1;
        number
    };
    let (whole, half) = (bits / 8, bits / 16);
    let numbers: Vec<Vec<u8>> = [whole, 0, whole, half, half, half, half, half]
        .iter()
        .zip(0..)
        .map(|(bytes, salt)| if *bytes == 0 { vec![1, 0, 1] } else { number(*bytes, salt) })
        .collect();
    let uint = |at: usize| UintRef::new(&numbers[at]).unwrap();
    let key = RsaPrivateKeyRef {
        modulus: uint(0),
        public_exponent: uint(1),
        private_exponent: uint(2),
        prime1: uint(3),
        prime2: uint(4),
        exponent1: uint(5),
        exponent2: uint(6),
        coefficient: uint(7),
        other_prime_infos: None,
    };
    key.to_der().unwrap()
}

/// The same as PKCS#8.
pub(crate) fn pkcs8(rsa: &[u8]) -> Vec<u8> {
    let oid = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
    let algorithm = AlgorithmIdentifierRef { oid, parameters: Some(pkcs8::der::asn1::AnyRef::NULL) };
    let inner = pkcs8::der::asn1::OctetStringRef::new(rsa).unwrap();
    PrivateKeyInfoRef::new(algorithm, inner).to_der().unwrap()
}

/// As PEM.
pub(crate) fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let text = base64::encoded(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n")).into_bytes()
}

/// An RSA 2048 key as OpenDKIM has it.
pub(crate) fn key(seed: u8) -> Vec<u8> {
    pem("PRIVATE KEY", &pkcs8(&rsa(2048, seed)))
}

/// The record of [`key`] as opendkim-genkey writes it.
pub(crate) fn record(seed: u8, owner: &str) -> String {
    use pkcs8::der::Decode as _;
    let key = rsa(2048, seed);
    let public = RsaPrivateKeyRef::from_der(&key).unwrap().public_key().to_der().unwrap();
    let algorithm = AlgorithmIdentifierRef {
        oid: ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1"),
        parameters: Some(pkcs8::der::asn1::AnyRef::NULL),
    };
    let subject_public_key = pkcs8::der::asn1::BitStringRef::from_bytes(&public).unwrap();
    let info = pkcs8::SubjectPublicKeyInfoRef { algorithm, subject_public_key };
    let p = base64::encoded(&info.to_der().unwrap());
    let (a, b) = p.split_at(200);
    format!("{owner}\tIN\tTXT\t( \"v=DKIM1; h=sha256; k=rsa; \"\n\t  \"p={a}\"\n\t  \"{b}\" )  ; ----- DKIM key\n")
}

/// A layer in the making.
pub(crate) struct Layer(Builder<Vec<u8>>);

impl Layer {
    pub(crate) fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn header(entry_type: EntryType, size: usize) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(entry_type);
        header.set_mode(if entry_type == EntryType::Directory { 0o755 } else { 0o600 });
        header.set_uid(101);
        header.set_gid(102);
        header.set_size(size as u64);
        header
    }

    /// A name that the `tar` crate itself would refuse (`..`, an absolute one) goes into the header as it is.
    pub(crate) fn raw(mut self, name: &[u8], content: &[u8]) -> Self {
        let mut header = Self::header(EntryType::Regular, content.len());
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    pub(crate) fn file(mut self, path: &str, content: &[u8]) -> Self {
        self.0.append_data(&mut Self::header(EntryType::Regular, content.len()), path, content).unwrap();
        self
    }

    pub(crate) fn folder(mut self, path: &str) -> Self {
        self.0.append_data(&mut Self::header(EntryType::Directory, 0), path, &b""[..]).unwrap();
        self
    }

    pub(crate) fn link(mut self, path: &str, target: &str) -> Self {
        self.0.append_link(&mut Self::header(EntryType::Link, 0), path, target).unwrap();
        self
    }

    pub(crate) fn symlink(mut self, path: &str, target: &str) -> Self {
        self.0.append_link(&mut Self::header(EntryType::Symlink, 0), path, target).unwrap();
        self
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// How the layers of an archive are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packed {
    Not,
    Gzip,
    Zstd,
}

pub(crate) fn packed(bytes: &[u8], how: Packed) -> Vec<u8> {
    match how {
        Packed::Not => bytes.to_vec(),
        Packed::Gzip => {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(bytes).unwrap();
            packer.finish().unwrap()
        }
        Packed::Zstd => ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest),
    }
}

/// The configuration of an image of these layers, made by `step 1`, `step 2` and so on.
pub(crate) fn config(layers: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<_> = layers.iter().map(|layer| digest_of(layer)).collect();
    let mut history: Vec<_> =
        (1..=layers.len()).map(|number| serde_json::json!({"created_by": format!("step {number}")})).collect();
    history.insert(1, serde_json::json!({"created_by": "ENV X=1", "empty_layer": true}));
    serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": history,
    })
    .to_string()
    .into_bytes()
}

/// The files of an archive or layout.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// `docker save` of one image.
pub(crate) fn docker_save(layers: &[Vec<u8>], how: Packed) -> Files {
    let config = config(layers);
    let mut files = Files::new();
    let mut names = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let name = format!("{number:064x}/layer.tar");
        files.insert(name.clone(), packed(layer, how));
        names.push(name);
    }
    let name = format!("{}.json", digest_of(&config).trim_start_matches("sha256:"));
    let list = serde_json::json!([{"Config": name, "RepoTags": ["mail:1"], "Layers": names}]);
    files.insert(name, config);
    files.insert("manifest.json".to_owned(), list.to_string().into_bytes());
    files
}

/// An OCI layout of one image.
pub(crate) fn oci(layers: &[Vec<u8>], how: Packed) -> Files {
    let mut files = Files::new();
    let mut add = |bytes: Vec<u8>, kind: &str| {
        let digest = digest_of(&bytes);
        let size = bytes.len();
        files.insert(format!("blobs/{}", digest.replace(':', "/")), bytes);
        serde_json::json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest, "size": size})
    };
    let config = add(config(layers), "config.v1+json");
    let layers: Vec<_> = layers.iter().map(|layer| add(packed(layer, how), "layer.v1.tar")).collect();
    let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers}).to_string();
    let mut image = add(manifest.into_bytes(), "manifest.v1+json");
    image["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": "mail:1"});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [image]}).to_string();
    files.insert("index.json".to_owned(), index.into_bytes());
    files.insert("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
    files
}

/// These files as one archive.
pub(crate) fn archive(files: &Files) -> Vec<u8> {
    let layer = files.iter().fold(Layer::new(), |layer, (name, content)| layer.file(name, content));
    layer.done()
}
