//! dkimwatch
fn main() {}
