//! The two sides, held against each other: the embedded object against the contract, the hooks against the kernel.

mod layout;
mod names;
mod prototypes;

use object::{Object as _, ObjectSection as _};

use super::KERNEL_OBJECT;

/// The embedded object.
fn object() -> object::File<'static> {
    object::File::parse(KERNEL_OBJECT).expect("the embedded object is ELF")
}

/// The object's description of its own types.
fn own_types() -> btf_rs::Btf {
    let object = object();
    let section = object.section_by_name(".BTF").expect("the object has BTF");
    btf_rs::Btf::from_bytes(section.data().expect("the section's bytes")).expect("the object's BTF is well formed")
}
